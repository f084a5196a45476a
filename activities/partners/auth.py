"""How requests to partners are authenticated, beyond what httpx brings along (`httpx.BasicAuth`)."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from activities.signatures import ConfigError


class HeaderKey(httpx.Auth):
    """A key in a header of its own, or as a bearer token: `HeaderKey("Authorization", f"Bearer {key}")`.

    Raises `ConfigError` for a value that no header can have.
    """

    def __init__(self, name: str, value: str) -> None:
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"the value of {name} has a newline or another character that no header can have")
        self._name = name
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add it to a request."""
        request.headers[self._name] = self._value
        yield request
