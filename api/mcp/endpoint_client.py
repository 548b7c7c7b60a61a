"""Call the API's endpoints inside this process, with the credentials of one caller.

So an agent's requests pass the same checks as all others: authentication, organisation, and whether the table fits
the spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec
from starlette.types import ASGIApp

from api.auth import COMPANY_HEADER, ORG_HEADER
from api.http.errors import InvalidBody

#: The headers that identify the caller of a request.
CREDENTIAL_HEADERS: Final = ("authorization", ORG_HEADER, COMPANY_HEADER)
_LOOPBACK: Final = ("127.0.0.1", 0)
#: The most seconds of one call: a precaution, since the endpoints' own time limits are shorter.
_SECONDS: Final = 120.0


class EndpointRefused(Exception):
    """An endpoint returned an error; `text` is the JSON text of its response."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class EndpointClient:
    """Sends requests to the ASGI app `app`, with the caller's credentials in `headers`."""

    app: ASGIApp
    headers: Mapping[str, str]
    address: tuple[str, int] = _LOOPBACK

    async def get(self, path: str, parameters: Mapping[str, str | None]) -> bytes:
        """Send a GET and return the response body; parameters that are None are left out.

        Raises EndpointRefused when the endpoint returns an error, Fault 422 when the parameters are too long.
        """
        present = {name: value for name, value in parameters.items() if value is not None}
        try:
            return await self._send_request("GET", path, params=present)
        except httpx.InvalidURL as error:
            hint = "give shorter ones: a row's `id` instead of its key, or fewer `fields`"
            raise InvalidBody("the arguments are longer than 64 KB", hint=hint) from error

    async def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Send a POST with a JSON body and return the response body. Raises EndpointRefused as `get` does."""
        return await self._send_request("POST", path, content=msgspec.json.encode(body))

    async def _send_request(self, method: str, path: str, **options: Any) -> bytes:
        transport = httpx.ASGITransport(self.app, client=self.address)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoints", timeout=_SECONDS) as client:
            answer = await client.request(method, path, headers=dict(self.headers), **options)
        if answer.status_code != 200:
            raise EndpointRefused(answer.text)
        return answer.content
