"""Ask an address for its health ten times a second, and print the seconds that each answer took.

A process of its own: what shares an interpreter with many threads measures those.
"""

import sys
import time

import httpx


def main(url: str) -> None:
    while True:
        started = time.monotonic()
        httpx.get(f"{url}/healthz", timeout=30).raise_for_status()
        print(time.monotonic() - started, flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
