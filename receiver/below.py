"""Below: takes the path of PUBLIC_URL off a request's path, for a receiver that is not at the root of its address.

With PUBLIC_URL=https://example.com/hooks partners send to /hooks/callbacks/TOKEN. Some balancers pass that on as it is,
others strip /hooks; the receiver serves both. Requests that the balancer sends itself, such as /readyz, never have it.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class Below:
    """ASGI middleware. path: the path of PUBLIC_URL, such as `/hooks`; never "", never one of the receiver's own."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path
        self._raw = path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as if it had been sent to the root."""
        raw: bytes = scope.get("raw_path") or b""
        if scope["type"] == "http" and raw.startswith(self._raw + b"/"):
            scope = {**scope, "path": scope["path"][len(self._path) :], "raw_path": raw[len(self._raw) :]}
        await self._app(scope, receive, send)
