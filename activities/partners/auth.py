"""How requests to partners are authenticated, beyond what httpx brings along (`httpx.BasicAuth`)."""

from __future__ import annotations

from collections.abc import Generator

import httpx


class HeaderKey(httpx.Auth):
    """A key in a header of its own, or as a bearer token: `HeaderKey("Authorization", f"Bearer {key}")`."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add it to a request."""
        request.headers[self._name] = self._value
        yield request
