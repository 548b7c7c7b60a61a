"""HTTP to servers of the tests, each call over a connection of its own.

`httpx.get` and its like read the certificates of all authorities anew for every call, which takes longer than the call.
"""

import httpx

HTTP = httpx.Client(verify=False, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
