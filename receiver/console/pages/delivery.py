"""DeliveryPage: a delivery, how it was judged, and what an operator can do with it."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from activities.callback_urls import CallbackURLs
from activities.environment import Environment, SettingsError, is_loopback
from activities.public_url import read_public_url
from activities.settings import read_callback_keys
from receiver.console.bodies import ShownBody, shown_body
from receiver.console.judgement import JudgedStep, first_wrong, judged_steps
from receiver.console.orders import InvalidOrder
from receiver.console.reasons import LONGEST_ORDER_REASON, read_reason
from receiver.console.site import Site
from receiver.console.visits import Visit, visit_of
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

MOST_SHOWN_HEADERS: Final = 100
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
        """The name of the step at which it failed, or ""."""
        return first_wrong(self.delivery, self.steps)


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
        return await self._page(request)

    async def _page(self, request: Request, *, problem: str = "") -> Response:
        looked_at = await self._look(request)
        return self._site.render(
            request,
            "delivery.html",
            status=422 if problem else 200,
            it=looked_at,
            one=looked_at.delivery,
            problem_text=problem,
            longest_reason=LONGEST_ORDER_REASON,
            most_headers=MOST_SHOWN_HEADERS,
        )

    async def _look(self, request: Request) -> LookedAt:
        urls, partners = urls_or_none(), self._site.sources.partners

        def look(archive: Archive) -> LookedAt:
            one, callback = archive.held(_id_of(request))
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
        id_, visit, at = _id_of(request), visit_of(request), time.time()
        try:
            reason = read_reason(visit.form)
        except InvalidOrder as error:
            return await self._page(request, problem=str(error))
        deliveries = self._site.sources.need_deliveries()
        released = await deliveries.change(lambda archive: releases.release(archive, id_, at, Here()))
        logger.info("console-order", extra=_facts("release", id_, visit, reason))
        return self._done(released.id, "Released: it is queued again, and its signal goes to its run.")

    async def _plan_replay(self, request: Request) -> Response:
        id_, urls = _id_of(request), here_urls()
        try:
            reason = read_reason(visit_of(request).form)
        except InvalidOrder as error:
            return await self._page(request, problem=str(error))
        chosen = await self._site.sources.need_deliveries().ask(lambda archive: find_request(archive, id_))
        to, is_here = urls.public_url, is_loopback(urls.public_url)
        return self._site.render(request, "replay.html", id=id_, chosen=chosen, to=to, is_here=is_here, reason=reason)

    async def _replay(self, request: Request) -> Response:
        id_, visit, urls, sources = _id_of(request), visit_of(request), here_urls(), self._site.sources
        try:
            reason = _confirmed_reason(visit, urls)
        except InvalidOrder as error:
            return await self._page(request, problem=str(error))
        deliveries = sources.need_deliveries()
        chosen = await deliveries.ask(lambda archive: find_request(archive, id_))
        sent = await send_again(chosen, urls, sources.partners, await sources.runs(), deliveries.refer)
        answers = [str(one.answered or one.error) for one in sent]
        logger.info("console-order", extra={**_facts("replay", id_, visit, reason), "answers": answers})
        now = " and ".join(dict.fromkeys(answers))
        return self._done(id_, f"Sent again: answered {now} now, {chosen[0].status} at capture.")

    def _done(self, id_: str, text: str) -> Response:
        return self._site.redirect(self._site.link("/delivery", id=id_, notice=self._site.notice(text)))

    async def _get(self, request: Request) -> Delivery:
        id_ = _id_of(request)
        return await self._site.sources.need_deliveries().ask(lambda archive: archive.get(id_))


def _id_of(request: Request) -> str:
    """The delivery that the request names; raises `HTTPException` if it names none."""
    id_ = request.query_params.get("id", "")
    if not id_ or "\0" in id_:  # PostgreSQL takes no NUL
        raise HTTPException(404)
    return id_


def _confirmed_reason(visit: Visit, urls: CallbackURLs) -> str:
    """The reason of a replay; raises `InvalidOrder` if another machine would get it and that was not confirmed."""
    if not is_loopback(urls.public_url) and visit.form.get("remote") != "1":
        raise InvalidOrder(f"the receiver {urls.public_url} is not this machine: check the box if you mean it")
    return read_reason(visit.form)


def _facts(order: str, id_: str, visit: Visit, reason: str) -> dict[str, str]:
    """What the log tells of an order: it has no other record of who gave it."""
    return {"order": order, "delivery": id_, "actor": visit.actor, "reason": reason}


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
