"""Ask an address for its health ten times a second, and print the seconds that each answer took.

A process of its own: what shares an interpreter with many threads measures those. Each ask has a connection of its own.
"""

import http.client
import sys
import time


def ask_health(host: str, port: int) -> None:
    """Ask once. Raises AssertionError when the answer is not 200."""
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
    finally:
        connection.close()


def main(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    while True:
        started = time.monotonic()
        ask_health(host, int(port))
        print(time.monotonic() - started, flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
