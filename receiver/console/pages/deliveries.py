"""DeliveriesPage: the deliveries, newest first, chosen by the filters of `stagehook delivery list`."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from receiver.console.delivery_filters import FATES, VERDICT_NAMES, DeliveryFilters, place_text
from receiver.console.paging import PAGE_SIZE
from receiver.console.site import Site


class DeliveriesPage:
    """The list of deliveries."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """The page."""
        return [Route("/deliveries", self._show)]

    async def _show(self, request: Request) -> Response:
        reader = self._site.sources.need_deliveries()
        chosen = DeliveryFilters.read(request.query_params)
        page = await reader.ask(lambda archive: archive.page(chosen.filters, limit=PAGE_SIZE, before=chosen.before))
        newest = f"{self._site.link('/deliveries')}?{urlencode(chosen.pairs())}"
        return self._site.render(
            request,
            "deliveries.html",
            status=400 if chosen.problems else 200,
            filters=chosen,
            deliveries=page.deliveries,
            newest=newest,
            older=f"{newest}&{urlencode({'before': place_text(page.end)})}" if page.end else "",
            is_filtered=bool(chosen.pairs()),
            verdict_names=VERDICT_NAMES,
            fates=[(fate, fate) for fate in FATES],
        )
