"""WaitingPage: the runs that wait, those that need a person first."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from receiver.console.site import Site


class WaitingPage:
    """What every open run waits for."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """The page."""
        return [Route("/", self._show)]

    async def _show(self, request: Request) -> Response:
        return self._site.render(request, "waiting.html")
