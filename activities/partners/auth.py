"""Authentication of requests to partners that httpx does not include (it has `httpx.BasicAuth`)."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from activities.signatures import ConfigError


class HeaderKey(httpx.Auth):
    """Authenticates by a key in a header, or by a bearer token: `HeaderKey("Authorization", f"Bearer {key}")`.

    Raises `ConfigError` for a value that a header cannot hold.
    """

    def __init__(self, name: str, value: str) -> None:
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"the value of {name} has a newline or another character that no header can have")
        self._name = name
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header to a request."""
        request.headers[self._name] = self._value
        yield request
