"""HTTP to servers of the tests, each call over a connection of its own, and a port for such a server.

`httpx.get` and its like read the certificates of all authorities anew for every call, which takes longer than the call.
"""

import random
import socket

import httpx

HTTP = httpx.Client(verify=False, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


def find_free_port() -> int:
    """Return a port of loopback on which nothing listens, from below those that the system gives out by itself.

    Who takes it binds it a moment later, and again after each kill; meanwhile the system may give its own to anybody.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
