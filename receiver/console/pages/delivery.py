"""DeliveryPage: a delivery, how it was judged, and what an operator can do with it."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from activities.callback_urls import CallbackURLs
from activities.environment import Environment, SettingsError, is_loopback
from activities.public_url import read_public_url
from activities.settings import read_callback_keys
from activities.store.calls import Calls
from receiver.console.bodies import ShownBody, shown_body
from receiver.console.judgement import JudgedStep, gist, judged_steps
from receiver.console.reasons import read_reason
from receiver.console.site import Site
from receiver.console.visits import visit_of
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.telling import described
from receiver.replay.curl import curl_line, unsendable
from receiver.replay.single import find_request, send_again
from receiver.sending import releases
from receiver.sending.here import Here

logger = logging.getLogger("stagehook.console")

LONGEST_CURL: Final = 20_000
"""Characters of a curl line that a page shows; the command prints longer ones."""

MOST_HEADERS: Final = 100
"""Headers that a page shows."""


@dataclass(frozen=True)
class LookedAt:
    """A delivery with what a page shows of it. releasable: whether it can be sent to its run from the store."""

    delivery: Delivery
    facts: list[tuple[str, str]]
    steps: list[JudgedStep]
    body: ShownBody
    releasable: bool

    @property
    def wrong(self) -> str:
        """The name of the first step that is wrong, or ""."""
        return gist(self.steps)


class DeliveryPage:
    """A delivery: its page, its curl line, its release and its replay."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """The page, and where its forms are sent to."""
        return [
            Route("/delivery", self._show),
            Route("/delivery/curl", self._show_curl, methods=["POST"]),
            Route("/delivery/release", self._release, methods=["POST"]),
            Route("/delivery/replay", self._plan_replay, methods=["POST"]),
            Route("/delivery/replay/confirmed", self._replay, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        looked_at = await self._look(request)
        query = request.query_params
        answered, captured = (_status(query.get(name, "")) for name in ("answered", "captured"))
        return self._site.render(
            request,
            "delivery.html",
            it=looked_at,
            one=looked_at.delivery,
            done=query.get("done", ""),
            answered=answered,
            captured=captured,
            most_headers=MOST_HEADERS,
        )

    async def _look(self, request: Request) -> LookedAt:
        urls, partners = urls_or_none(), self._site.sources.partners

        def look(archive: Archive) -> LookedAt:
            one, callback = archive.held(request.query_params.get("id", ""))
            facts = [(name, text) for name, text in described(one) if name]
            releasable = callback is not None and one.fate is not Fate.PENDING and one.verdict != "unmatched"
            return LookedAt(one, facts, list(judged_steps(one, partners, urls)), shown_body(one), releasable)

        return await self._site.sources.need_deliveries().ask(look)

    async def _show_curl(self, request: Request) -> Response:
        one = await self._get(request)
        line = curl_line(one, os.environ)
        logger.info("curl-line-shown", extra={"delivery": one.id, "actor": visit_of(request).actor})
        return self._site.render(
            request,
            "curl.html",
            one=one,
            curl=line if len(line) <= LONGEST_CURL else "",
            size=len(line),
            left_out=unsendable(one),
        )

    async def _release(self, request: Request) -> Response:
        id_, actor = request.query_params.get("id", ""), visit_of(request).actor
        reason = read_reason(visit_of(request).form)
        at = time.time()
        released = await self._site.sources.need_deliveries().change(
            lambda archive: releases.release(archive, id_, at, Here())
        )
        logger.warning("delivery-released", extra={"delivery": released.id, "actor": actor, "reason": reason})
        return self._site.redirect(self._site.link("/delivery", id=released.id, done="released"))

    async def _plan_replay(self, request: Request) -> Response:
        urls, reason = here_urls(), read_reason(visit_of(request).form)
        id_ = request.query_params.get("id", "")
        chosen = await self._site.sources.need_deliveries().ask(lambda archive: find_request(archive, id_))
        return self._site.render(
            request,
            "replay.html",
            id=chosen[0].id if len(chosen) == 1 else id_,
            chosen=chosen,
            to=urls.public_url,
            is_here=is_loopback(urls.public_url),
            reason=reason,
        )

    async def _replay(self, request: Request) -> Response:
        id_, actor = request.query_params.get("id", ""), visit_of(request).actor
        urls, reason = here_urls(), read_reason(visit_of(request).form)
        sources = self._site.sources
        chosen = await sources.need_deliveries().ask(lambda archive: find_request(archive, id_))
        assert sources.store is not None
        refer = Calls(sources.store.database).refer
        sent = await send_again(chosen, urls, sources.partners, await sources.runs(), refer)
        answered = sent[0].answered if sent else 0
        facts = {"delivery": id_, "actor": actor, "reason": reason, "answered": answered}
        logger.warning("delivery-replayed", extra=facts)
        done = "replayed" if answered else "unanswered"
        captured = chosen[0].status
        return self._site.redirect(
            self._site.link("/delivery", id=id_, done=done, answered=answered, captured=captured)
        )

    async def _get(self, request: Request) -> Delivery:
        id_ = request.query_params.get("id", "")
        return await self._site.sources.need_deliveries().ask(lambda archive: archive.get(id_))


def _status(text: str) -> int:
    """An HTTP status in an address, which anybody may have typed; 0 for anything else."""
    return int(text) if len(text) == 3 and text.isascii() and text.isdecimal() else 0


def here_urls() -> CallbackURLs:
    """Issues callback URLs with the PUBLIC_URL and CALLBACK_KEYS of this environment; raises `SettingsError`."""
    env = Environment(os.environ)
    public_url, keys = read_public_url(env).url, read_callback_keys(env)
    env.check()
    return CallbackURLs(public_url, keys)


def urls_or_none() -> CallbackURLs | None:
    """As `here_urls`; None if a setting is missing or wrong."""
    try:
        return here_urls()
    except SettingsError:
        return None
