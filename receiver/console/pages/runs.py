"""RunsPage: all runs, the latest first."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from activities.finding import RunFilter
from activities.listing import FailedRuns, Run, count_runs, failed_runs, list_page
from activities.run_words import RUN_STATUSES
from receiver.console.pages.run_filters import FilterForm, read_filters
from receiver.console.paging import PAGE_SIZE
from receiver.console.site import Site

RUNS_FILTERS: Final = ("pipeline", "status", "since", "partner", "stage", "state", "failed_with")
ONLY_SINCE: Final = (
    "a text of the failure needs a time since when, such as 1d, and takes no other filter: "
    "the failure of every run that failed since is read"
)


class RunsPage:
    """The list of runs."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """The page."""
        return [Route("/runs", self._show, methods=["GET"])]

    async def _show(self, request: Request) -> Response:
        filters = read_filters(request.query_params, RUNS_FILTERS)
        if filters.problem:
            return self._page(request, filters, status=400)
        if text := filters.values["failed_with"]:
            return await self._show_failed(request, filters, text)
        token = self._token_of(request)
        runs = await self._site.sources.runs()
        listed, following = await list_page(runs, filters.where, size=PAGE_SIZE, token=token)
        total = sum((await count_runs(runs, filters.where)).values())
        after = ""
        if following and listed:
            # Temporal's client would send a forged token for 10 s.
            token_text = self._site.seal("page", base64.b64encode(following).decode())
            after = self._site.link("/runs", **filters.query, **{"from": token_text})
        return self._page(request, filters, listed=listed, total=total, after=after)

    def _token_of(self, request: Request) -> bytes | None:
        """Temporal's token of the page that the request asks for; None for the first page."""
        given = request.query_params.get("from", "")
        token = base64.b64decode(self._site.unseal("page", given))
        if given and not token:
            raise HTTPException(404)
        return token or None

    async def _show_failed(self, request: Request, filters: FilterForm, text: str) -> Response:
        since = filters.where.since
        if since is None or filters.where != RunFilter(since=since):
            problem = FilterForm(filters.values, filters.where, ONLY_SINCE)
            return self._page(request, problem, status=400)
        read = await failed_runs(await self._site.sources.runs(), text, since)
        return self._page(request, filters, read=read)

    def _page(
        self,
        request: Request,
        filters: FilterForm,
        *,
        status: int = 200,
        listed: Sequence[Run] = (),
        total: int = 0,
        after: str = "",
        read: FailedRuns | None = None,
    ) -> Response:
        return self._site.render(
            request,
            "runs.html",
            status=status,
            filters=filters,
            statuses=[(name, name.replace("_", " ")) for name in RUN_STATUSES],
            rows=[(one.run, one.failure) for one in read.found] if read else [(run, "") for run in listed],
            total=total,
            after=after,
            read=read,
        )
