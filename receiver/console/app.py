"""create_console: the console's ASGI app, and the list of its pages.

To add a page:

1. Write `pages/NAME.py` with a class that takes the `Site`, and has `routes()`: Starlette routes with paths from the
   console's root, such as `/deliveries`. GET changes nothing. What names a run or a delivery is in the query, never in
   the path: ids hold any character. An endpoint returns `site.render(request, "NAME.html", ...)`, or after a POST
   `site.redirect(site.link(...))`.
2. Write `templates/NAME.html`, which extends `layout.html`. Every text of others passes through `|line`, or in a
   `<pre>` through `|block`. Make every form that is posted with the macro `form` of `macros.html`: its token is checked
   before the endpoint is called, which finds the fields in `visit_of(request).form`.
3. Add the class to `PAGES`, and its entry to `MENU`.

Errors that `receiver.advice` knows become a page with their advice; see `problem`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from receiver.advice import advice_on
from receiver.console.assets import Assets
from receiver.console.errors import EXPECTED_ERRORS, status_of
from receiver.console.forms import FormTokens
from receiver.console.guard import ConsoleGuard, Reception
from receiver.console.identity import Identity, ProxyDoor
from receiver.console.options import ConsoleOptions
from receiver.console.pages.deliveries import DeliveriesPage
from receiver.console.pages.delivery import DeliveryPage
from receiver.console.pages.partners import PartnersPage
from receiver.console.pages.run import RunPage
from receiver.console.pages.runs import RunsPage
from receiver.console.pages.waiting import WaitingPage
from receiver.console.sign_in import OpenDoor, SignIn
from receiver.console.site import Site
from receiver.console.sources import Sources


class Page(Protocol):
    """A page, or several pages about the same thing."""

    def __init__(self, site: Site) -> None: ...

    def routes(self) -> list[BaseRoute]:
        """The routes of the page."""
        ...


PAGES: Final[tuple[type[Page], ...]] = (WaitingPage, RunsPage, RunPage, DeliveriesPage, DeliveryPage, PartnersPage)
MENU: Final[Mapping[str, str]] = {"Waiting": "/", "Runs": "/runs", "Deliveries": "/deliveries", "Partners": "/partners"}
"""The entries of the menu with their paths."""


def create_console(options: ConsoleOptions, sources: Sources, identity: Identity | None = None) -> ASGIApp:
    """Make the console. Any number of processes may serve it: between requests it keeps only limits.

    identity: of an identity proxy, which takes the place of the password at sign-in; or None.
    """
    tokens, assets = FormTokens(options.key), Assets()
    site = Site(options, sources, tokens, assets, MENU)
    reception = _reception(options, identity)
    routes: list[BaseRoute] = [*assets.routes()]
    if isinstance(reception, SignIn):
        reception.site = site
        routes += reception.routes()
    for page in PAGES:
        routes += page(site).routes()

    async def explain(request: Request, error: Exception) -> Response:
        what, advice = str(error) or type(error).__name__, advice_on(error) or ""
        return site.render(request, "problem.html", status=status_of(error), what=what, advice=advice, back="")

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return site.render(request, "problem.html", status=status, back="", **REFUSALS.get(status, REFUSALS[500]))

    app = Starlette(
        routes=routes, exception_handlers={HTTPException: refuse, **dict.fromkeys(EXPECTED_ERRORS, explain)}
    )
    app.router.redirect_slashes = False
    return ConsoleGuard(app, options, reception, tokens)


def _reception(options: ConsoleOptions, identity: Identity | None) -> Reception:
    if identity is not None:
        return ProxyDoor(identity)
    return SignIn(options) if options.password else OpenDoor(options.actor)


REFUSALS: Final[Mapping[int, Mapping[str, str]]] = {
    404: {"what": "No page has this address", "advice": "choose one from the menu"},
    405: {"what": "This address takes no such request", "advice": "go back, and load the page again"},
    500: {"what": "The request was refused", "advice": "go back, and load the page again"},
}
"""What is wrong and what to do, by the status of an error."""
