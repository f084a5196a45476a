"""PartnersPage: the enabled partners with their lanes and signatures, and the keys of callback URLs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from temporalio.client import Client
from temporalio.service import RPCError

from activities.callback_urls import fingerprint
from activities.client import TemporalUnreachable, reaching_temporal
from activities.environment import Environment
from activities.finding import AttributesOff
from activities.lanes import (
    Hold,
    InvalidReason,
    LaneRefused,
    LaneState,
    has_lane,
    hold_lane,
    lane_to_hold,
    look_at_lane,
    reaching_lanes,
    release_lane,
)
from activities.partners import PARTNERS
from activities.partners.partner import Partner
from activities.settings import read_task_queue
from activities.store.errors import StoreAway
from activities.target import Target
from activities.waiting_counts import WaitingCounts, count_waiting
from receiver.console.orders import InvalidOrder
from receiver.console.reasons import LONGEST_ORDER_REASON, read_reason
from receiver.console.site import Site
from receiver.console.visits import visit_of
from receiver.deliveries.partner_stats import PartnerStats, Stats, read_stats
from receiver.durations import end_of
from receiver.telling.lanes import lane_text
from receiver.telling.moments import utc_text
from workflows.durations import DAY
from workflows.lanes import call_lane

STATS_DAYS: Final = 7
"""Days of statistics. A store that keeps fewer limits them."""

logger = logging.getLogger("stagehook.console")


@dataclass(frozen=True)
class ShownPartner:
    """A partner on the page.

    lane: what holds its calls, None if Temporal cannot be asked. signs: how, in words. stats: None if nothing of it was
    recorded in the time that was read, or nothing could be read. counts: of the runs that wait for it, None if Temporal
    does not say it.
    """

    name: str
    lane: LaneState | None
    signs: str
    stats: PartnerStats | None
    counts: WaitingCounts | None

    @property
    def lane_words(self) -> str:
        """The lane in words."""
        return lane_text(self.name, self.lane) if self.lane else "not known"

    @property
    def is_held(self) -> bool:
        """Whether something holds its calls."""
        return self.lane is not None and self.lane.hold is not None

    @property
    def can_be_paused(self) -> bool:
        """Whether it has a lane, and Temporal tells its state."""
        return self.lane is not None and has_lane(self.name)


class PartnersPage:
    """The partners, and the forms to pause one and to resume it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """The page, and where its forms are sent to."""
        return [
            Route("/partners", self._show, methods=["GET"]),
            Route("/partners/pause", self._pause, methods=["POST"]),
            Route("/partners/resume", self._resume, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        return await self._page(request)

    async def _page(self, request: Request, *, problem: str = "", status: int = 200) -> Response:
        partners, away, unread = self._site.sources.partners, "", ""
        lanes: dict[str, LaneState] = {}
        counts: Mapping[str, WaitingCounts] = {}
        stats: Stats | None = None
        try:
            lanes = await self._lanes(list(partners))
            counts = await self._counts(list(partners))
        except (TemporalUnreachable, LaneRefused) as error:
            away = str(error)
        try:
            stats = await self._stats()
        except StoreAway as error:
            unread = str(error)
        keys = self._site.sources.callback_keys
        found = {one.partner: one for one in stats.partners} if stats else {}
        return self._site.render(
            request,
            "partners.html",
            status=status,
            partners=[
                ShownPartner(name, lanes.get(name), signing_words(partner), found.get(name), counts.get(name))
                for name, partner in partners.items()
            ],
            others=[name for name in PARTNERS if name not in partners],
            away=away,
            stats=stats,
            unread=unread,
            keys=[(place, fingerprint(key)) for place, key in enumerate(keys, start=1)],
            problem_text=problem,
            longest_reason=LONGEST_ORDER_REASON,
        )

    async def _stats(self) -> Stats | None:
        """The statistics of all partners, at most of `STATS_DAYS`; None without a store. Raises `StoreAway`."""
        store, now = self._site.sources.store, time.time()
        if store is None:
            return None
        since = now - min(STATS_DAYS, store.days) * DAY
        return await self._site.sources.need_deliveries().count(lambda connection: read_stats(connection, since, now))

    async def _lanes(self, names: list[str]) -> dict[str, LaneState]:
        """The lanes of these partners; raises what `reaching_lanes` does."""
        client = await self._client()
        async with reaching_lanes(client):
            return {name: await look_at_lane(client, call_lane(_task_queue(), name)) for name in names}

    async def _counts(self, names: list[str]) -> Mapping[str, WaitingCounts]:
        """The runs that wait for these partners, as Temporal knows them; none if it does not count them."""
        client = await self._client()
        try:
            async with reaching_temporal(Target.of_client(client)):
                return await count_waiting(client, names)
        except (AttributesOff, RPCError):
            return {}

    async def _pause(self, request: Request) -> Response:
        name, visit = self._name_of(request), visit_of(request)
        try:
            reason, end = read_reason(visit.form), visit.form.get("until", "").strip()
            until = end_of("end", end) if end else 0.0
            lane, client = lane_to_hold(_task_queue(), name), await self._client()
            async with reaching_lanes(client):
                await hold_lane(client, lane, Hold("operator", reason, actor=visit.actor, until=until))
        except ValueError as error:
            return await self._page(request, problem=f"{name} was not paused: {error}", status=422)
        self._log("pause", request, reason)
        until_when = f"until {utc_text(until)} UTC" if until else "until it is resumed"
        return self._done(f"Paused: no call to {name} begins {until_when}.")

    async def _resume(self, request: Request) -> Response:
        name, visit = self._name_of(request), visit_of(request)
        try:
            reason, client = read_reason(visit.form), await self._client()
            async with reaching_lanes(client):
                await release_lane(client, call_lane(_task_queue(), name), actor=visit.actor, reason=reason)
        except (InvalidOrder, InvalidReason) as error:
            return await self._page(request, problem=f"{name} was not resumed: {error}", status=422)
        self._log("resume", request, reason)
        return self._done(f"Resumed: calls to {name} begin again.")

    async def _client(self) -> Client:
        return (await self._site.sources.runs()).client

    def _name_of(self, request: Request) -> str:
        """The enabled partner that the request names; raises `HTTPException` for another."""
        if (name := request.query_params.get("name", "")) not in self._site.sources.partners:
            raise HTTPException(404)
        return name

    def _log(self, order: str, request: Request, reason: str) -> None:
        facts = {"order": f"partner-{order}", "partner": self._name_of(request), "actor": visit_of(request).actor}
        logger.info("console-order", extra={**facts, "reason": reason})

    def _done(self, text: str) -> Response:
        return self._site.redirect(self._site.link("/partners", notice=self._site.notice(text)))


def signing_words(partner: Partner) -> str:
    """How a partner signs: the scheme and the number of its secrets."""
    scheme = partner.signature
    if scheme is None:
        return "nothing: the token is the only proof"
    count = len(scheme.secrets)
    return f"by {scheme.name or type(scheme).__name__}, {count} {'secret' if count == 1 else 'secrets'}"


def _task_queue() -> str:
    return read_task_queue(Environment(os.environ))
