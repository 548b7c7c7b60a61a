"""Ask the endpoints of the app inside this process, with the credentials of one caller.

So an agent passes the same checks as everybody else: who it is, whose rows it sees, whether the table fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec
from starlette.types import ASGIApp

from api.auth import COMPANY_HEADER, ORG_HEADER

#: The headers of a request that say who asks.
CREDENTIAL_HEADERS: Final = ("authorization", ORG_HEADER, COMPANY_HEADER)
_LOOPBACK: Final = ("127.0.0.1", 0)
#: A net only: the endpoints bound themselves, sooner.
_SECONDS: Final = 120.0


class EndpointRefused(Exception):
    """An endpoint answered with an error; `text` is the JSON of its answer."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class EndpointClient:
    """Sends requests to `app` for the caller whose credentials are in `headers`."""

    app: ASGIApp
    headers: Mapping[str, str]
    address: tuple[str, int] = _LOOPBACK

    async def get(self, path: str, parameters: Mapping[str, str | None]) -> bytes:
        """Return the answer to a GET; parameters that are None are left out. Raises EndpointRefused."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return await self._send("GET", path, params=given)

    async def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the answer to a POST of JSON. Raises EndpointRefused."""
        return await self._send("POST", path, content=msgspec.json.encode(body))

    async def _send(self, method: str, path: str, **options: Any) -> bytes:
        transport = httpx.ASGITransport(self.app, client=self.address)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoints", timeout=_SECONDS) as client:
            answer = await client.request(method, path, headers=dict(self.headers), **options)
        if answer.status_code != 200:
            raise EndpointRefused(answer.text)
        return answer.content
