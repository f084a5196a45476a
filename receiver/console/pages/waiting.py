"""WaitingPage: the runs that wait, and for whom; those that need a person first, then by deadline."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from activities.finding import RunFilter
from activities.listing import count_runs, waits_of
from activities.runs import Runs
from activities.waiting import WaitingRuns, waiting_runs
from activities.waiting_counts import WaitingCounts, count_waiting
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
        by_partner = await self._count(runs, filters.where) if found.total > len(found.shown) else {}
        return self._page(
            request, filters, found, number=number, waits=waits, unfindable=unfindable, by_partner=by_partner
        )

    async def _count(self, runs: Runs, where: RunFilter) -> Mapping[str, WaitingCounts]:
        """The counts of each partner that is waited for. They tell what a page of a long list cannot."""
        partners = [where.partner] if where.partner else list(self._site.sources.partners)
        async with runs.reaching():
            counts = await count_waiting(runs.client, partners, where)
        return {name: found for name, found in counts.items() if found.waiting}

    def _page(
        self, request: Request, filters: FilterForm, found: WaitingRuns, *, status: int = 200, **values: object
    ) -> Response:
        values = {"number": 1, "waits": {}, "unfindable": 0, "by_partner": {}, **values}
        return self._site.render(
            request, "waiting.html", status=status, filters=filters, found=found, page_size=PAGE_SIZE, **values
        )
