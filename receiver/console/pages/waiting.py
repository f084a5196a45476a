"""WaitingPage: the runs that wait, and for whom; those that need a person first, then by deadline."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from activities.finding import RunFilter
from activities.listing import count_runs, waits_of
from activities.waiting import WaitingRuns, waiting_runs
from receiver.console.pages.run_filters import FilterForm, read_filters
from receiver.console.paging import PAGE_SIZE, page_number
from receiver.console.site import Site

WAITING_FILTERS: Final = ("state", "overdue", "due", "partner", "stage", "pipeline")


class WaitingPage:
    """What every open run waits for, since when, and until when."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """The page."""
        return [Route("/", self._show, methods=["GET"])]

    async def _show(self, request: Request) -> Response:
        filters = read_filters(request.query_params, WAITING_FILTERS)
        if filters.problem:
            return self._page(request, filters, WaitingRuns((), 0, 0), status=400)
        runs, number = await self._site.sources.runs(), page_number(request)
        found = await waiting_runs(
            runs, filters.where, now=datetime.now(UTC), first=(number - 1) * PAGE_SIZE, most=PAGE_SIZE
        )
        unfindable = 0
        if filters.where == RunFilter():
            unfindable = max(0, sum((await count_runs(runs, RunFilter(status="running"))).values()) - found.total)
        waits = await waits_of(runs, found.shown)
        return self._page(request, filters, found, number=number, waits=waits, unfindable=unfindable)

    def _page(
        self, request: Request, filters: FilterForm, found: WaitingRuns, *, status: int = 200, **values: object
    ) -> Response:
        values = {"number": 1, "waits": {}, "unfindable": 0, **values}
        return self._site.render(
            request, "waiting.html", status=status, filters=filters, found=found, page_size=PAGE_SIZE, **values
        )
