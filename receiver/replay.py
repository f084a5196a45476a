"""Webhook replay: captured deliveries sent again, on the ordinary way of every callback.

A replay is aimed (which run, by which claims), written (token, headers, bytes) and sent, in the order of capture. The
answer is compared with the one at capture.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

import httpx

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs, Claims
from activities.partners.partner import Partner
from activities.runs import NoSuchStage, Runs
from receiver.deliveries.capture import is_credential
from receiver.deliveries.delivery import Delivery, placeholder
from receiver.stand_ins import stand_in
from workflows.contract import TOKEN_SLACK

Mode = Literal["resign", "verbatim"]

NOT_REPEATED: Final = {
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-connection",
}
"""Headers that belong to a connection and not to what was sent over it."""

LONGEST_ID: Final = 200
"""Characters of a stand-in's workflow id; they are all in its tokens."""

STAGE_OPENS_WITHIN: Final = 10.0
"""Seconds for a run to come to the next delivery's stage."""


class NotReplayable(Exception):
    """A delivery that cannot be sent again. The message says why."""


class PartnerNotEnabled(Exception):
    """A delivery's partner is not among PARTNERS here, so its signature cannot be made."""


@dataclass(frozen=True)
class Replayed:
    """One delivery that was sent again.

    answered: the HTTP status, 0 for none. error: why there was none. before: the status at capture.
    """

    delivery: Delivery
    workflow_id: str
    answered: int
    error: str = ""
    before: int = 0

    @property
    def same(self) -> bool:
        """Whether the answer is the one at capture."""
        return self.answered == (self.before or self.delivery.status)


def select(deliveries: Sequence[Delivery]) -> tuple[list[Delivery], list[tuple[Delivery, str]]]:
    """The deliveries that can be replayed, in the order of capture; and the others, with the reason."""
    chosen: list[Delivery] = []
    left: list[tuple[Delivery, str]] = []
    for delivery in sorted(deliveries, key=lambda one: (one.received_at, one.id)):
        if not delivery.workflow_id:
            left.append((delivery, "its token was none of ours"))
        elif delivery.body is None:
            left.append((delivery, "its body was not kept"))
        else:
            chosen.append(delivery)
    return chosen, left


# --- aiming


class Aim(Protocol):
    """Says which run and stage each delivery is sent to."""

    async def claims(self, delivery: Delivery) -> Claims:
        """The claims for its new token."""
        ...

    def is_begun(self, chain_id: str) -> bool:
        """Whether the deliveries of this captured run go into a run that the replay begins."""
        ...

    async def aclose(self) -> None:
        """End what the replay has begun."""
        ...


class CapturedClaims:
    """Aims at the run of capture, by the claims that the token had then."""

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims."""
        return _claims(delivery)

    def is_begun(self, chain_id: str) -> bool:
        """Never."""
        return False

    async def aclose(self) -> None:
        """Nothing was begun."""


class NamedRun(CapturedClaims):
    """Aims at one run, by the claims of the stage that is open there.

    stage: in place of the delivery's own; 0 for that one.
    """

    def __init__(self, runs: Runs, workflow_id: str, stage: int = 0) -> None:
        self._runs = runs
        self._workflow_id = workflow_id
        self._stage = stage
        self._known: dict[int, Claims] = {}

    async def claims(self, delivery: Delivery) -> Claims:
        """The open stage's claims; raises `NoSuchStage` if the run does not come to the stage."""
        stage = self._stage or delivery.stage
        deadline = time.monotonic() + STAGE_OPENS_WITHIN
        while stage not in self._known:
            try:
                self._known[stage] = await self._runs.open_claims(self._workflow_id, stage)
            except NoSuchStage:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
        return self._known[stage]


class StandIns:
    """Aims at a stand-in of each captured run, begun at the first of its deliveries."""

    def __init__(self, runs: Runs, deliveries: Sequence[Delivery], task_queue: str) -> None:
        self._runs = runs
        self._deliveries = deliveries
        self._task_queue = task_queue
        self._begun: dict[str, tuple[str, str, int]] = {}

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims, but for the stand-in and with time to spare."""
        if delivery.chain_id not in self._begun:
            self._begun[delivery.chain_id] = await self._begin(delivery.chain_id)
        workflow_id, chain_id, _ = self._begun[delivery.chain_id]
        expires_at = int(time.time() + TOKEN_SLACK)
        return replace(_claims(delivery), workflow_id=workflow_id, chain_id=chain_id, expires_at=expires_at)

    def is_begun(self, chain_id: str) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Let the stand-ins end: their last stage waits for nothing but this."""
        for workflow_id, _, last in self._begun.values():
            await self._runs.finish(workflow_id, last)

    async def _begin(self, chain_id: str) -> tuple[str, str, int]:
        deliveries = [delivery for delivery in self._deliveries if delivery.chain_id == chain_id]
        pipeline, carried = stand_in(deliveries, time.time())
        workflow_id = f"replay-{uuid.uuid4().hex[:8]}-{deliveries[0].workflow_id}"[:LONGEST_ID]
        handle = await self._runs.start(
            pipeline, {}, task_queue=self._task_queue, workflow_id=workflow_id, carried=carried
        )
        return handle.id, handle.first_execution_run_id or "", len(pipeline.stages)


class Sorted:
    """Aims at the captured run where it is there, at a stand-in where it is not.

    there: the chains of the runs that are there.
    """

    def __init__(self, there: Collection[str], stand_ins: StandIns) -> None:
        self._there = there
        self._stand_ins = stand_ins

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims, or those for the stand-in."""
        return await self._stand_ins.claims(delivery) if self.is_begun(delivery.chain_id) else _claims(delivery)

    def is_begun(self, chain_id: str) -> bool:
        """Whether it is not there."""
        return chain_id not in self._there

    async def aclose(self) -> None:
        """Let the stand-ins end."""
        await self._stand_ins.aclose()


# --- writing and sending


@dataclass
class Replay:
    """Sends deliveries again.

    urls: issues the tokens, for the receiver that they are sent to. partners: whose signatures can be made here.
    speed: how much faster than captured; 0 waits for nothing. rate: deliveries a second at most; 0 for any.
    """

    http: httpx.AsyncClient
    urls: CallbackURLs
    partners: Mapping[str, Partner]
    mode: Mode = "resign"
    speed: float = 0.0
    rate: float = 0.0
    _sent_at: float = field(default=0.0, init=False)

    def check(self, deliveries: Sequence[Delivery]) -> None:
        """Raise `PartnerNotEnabled` if a signature is to be made that cannot be."""
        missing = sorted({delivery.partner for delivery in deliveries} - set(self.partners))
        if missing and self.mode == "resign":
            raise PartnerNotEnabled(f"PARTNERS does not name {', '.join(missing)}, whose deliveries are to be signed")

    async def send_all(self, deliveries: Sequence[Delivery], aim: Aim) -> AsyncIterator[Replayed]:
        """Send them one after another; each is yielded as soon as it is answered."""
        before: Delivery | None = None
        for delivery in deliveries:
            claims = await aim.claims(delivery)
            await self._pause(before, delivery)
            yield await self._send(delivery, claims)
            before = delivery

    async def _pause(self, before: Delivery | None, delivery: Delivery) -> None:
        if before is None:
            return
        pause = 1 / self.rate if self.rate else 0.0
        if self.speed:
            pause = max(pause, (delivery.received_at - before.received_at) / self.speed)
        await asyncio.sleep(max(0.0, self._sent_at + pause - time.monotonic()))

    async def _send(self, delivery: Delivery, claims: Claims) -> Replayed:
        request = self.write(delivery, claims)
        self._sent_at = time.monotonic()
        try:
            response = await self.http.send(request)
        except httpx.TransportError as error:
            return Replayed(delivery, claims.workflow_id, 0, type(error).__name__)
        return Replayed(delivery, claims.workflow_id, response.status_code, before=self._status_of(delivery))

    def _status_of(self, delivery: Delivery) -> int:
        """The status at capture: the one that is recorded is the table's, and its partner may have one of its own."""
        partner = self.partners.get(delivery.partner)
        # A duplicate was answered as the first one was.
        case = "accepted" if delivery.verdict == "duplicate" else delivery.verdict
        return partner.status_for(case, delivery.status) if partner else delivery.status

    def write(self, delivery: Delivery, claims: Claims) -> httpx.Request:
        """The request: a new token, and with `resign` a new signature; bytes and other headers as captured."""
        if delivery.body is None:
            raise NotReplayable(f"the body of {delivery.id} was not kept")
        query = delivery.target.removeprefix(CALLBACKS_PATH + placeholder(_claims(delivery)))
        url = self.urls.issue(claims) + (query if query.startswith("?") else "")
        headers = repeatable_headers(delivery)
        if self.mode == "resign":
            headers = self._sign(delivery, url, headers)
        encoded = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        return httpx.Request(delivery.method, url, headers=encoded, content=delivery.body)

    def _sign(self, delivery: Delivery, url: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        scheme = self.partners[delivery.partner].signature
        if scheme is None or delivery.body is None:
            return headers
        # The captured id, so that what was a duplicate is one again.
        delivery_id = delivery.signed_id or delivery.id
        signed = scheme.sign(delivery.body, url=url, now=time.time(), delivery_id=delivery_id)
        replaced = {name.lower() for name, _ in signed}
        return [*(pair for pair in headers if pair[0].lower() not in replaced), *signed]


def repeatable_headers(delivery: Delivery) -> list[tuple[str, str]]:
    """Its headers without those of the connection it came over."""
    return [
        (name, value)
        for name, value in delivery.headers
        if name.lower() not in NOT_REPEATED and not is_credential(name)
    ]


def _claims(delivery: Delivery) -> Claims:
    if delivery.claims is None:
        raise NotReplayable(f"the token of {delivery.id} was none of ours")
    return delivery.claims
