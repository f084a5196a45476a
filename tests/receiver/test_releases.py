"""A release reads a kept body again, for the partner that sent it, and under an id that Temporal has not seen."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa

from activities.callback_urls import CallbackURLs
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.received import Received
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.answers import Verdict
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate, digest
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Conclusion
from receiver.sending.releases import NotReadAgain, release
from receiver.sending.signal import Signal
from receiver.sending.signals import Reached
from receiver.timing import Timing
from tests.parts.callbacks import CLAIMS, DONE, URLS, partners
from tests.parts.deliveries import delivery, keep
from tests.parts.doors import fate_of, opened
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import FOR_EVER, timed
from workflows.contract import Answer

ANSWER = Answer("succeeded", {"account_id": "a-1"})


@dataclass(frozen=True)
class Here:
    """An environment with one partner, whose file can read everything by now."""

    at_one_url: bool = False

    def partner(self, name: str) -> Partner:
        stage_by = "token" if self.at_one_url else "url"
        made: Partner = replace(partners()["bank"], read_event=self._read, stage_by=stage_by)
        return made

    def _read(self, received: Received) -> Event:
        return Event(ANSWER, received.json()["url"] if self.at_one_url else "")

    def urls(self) -> CallbackURLs:
        return URLS


def received(body: bytes, **changes: Any) -> Delivery:
    whole: dict[str, Any] = {"headers": (("Content-Type", "application/json"),), "body": body, "body_size": len(body)}
    return delivery(**whole, body_digest=digest(body), **changes)


def unreadable(database: Database, one: Delivery) -> None:
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).where(DELIVERIES.c.id == one.id).values(callback="{}"))


async def test_what_temporal_has_taken_is_sent_under_another_id(inbox: Inbox, database: Database) -> None:
    """It would take the signal for a repeat of what it has taken, and drop it."""
    one = received(json.dumps(DONE).encode())
    assert one.claims is not None
    taken = Signal.of(one.claims, ANSWER, one.body or b"").request_id
    await keep(inbox, one, taken)
    inbox.conclude(Conclusion(one.id, Fate.TAKEN))
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)
    unreadable(database, one)
    assert release(Archive(database), one.id, time.time(), Here()).fate is Fate.PENDING
    [queued] = await inbox.claim(10)
    assert queued.request_id != taken


@pytest.mark.parametrize("partner", ["cards", "bank"])
async def test_a_token_of_another_partners_call_is_not_released(inbox: Inbox, database: Database, partner: str) -> None:
    """A signature by one partner proves nothing about the work of another partner."""
    url = URLS.issue(replace(CLAIMS, partner=partner))
    unknown = {"workflow_id": "", "chain_id": "", "stage": 0, "attempt": 0, "issued_at": 0, "expires_at": 0}
    one = received(json.dumps({"url": url}).encode(), **unknown, target="/partners/bank", verdict="broken", status=503)
    inbox.note(one)
    await eventually(lambda: [kept.id for kept in Archive(database).every()] == [one.id])
    here = Here(at_one_url=True)
    if partner == "bank":
        assert release(Archive(database), one.id, time.time(), here).claims == CLAIMS
        return
    with pytest.raises(NotReadAgain, match="names no call of ours"):
        release(Archive(database), one.id, time.time(), here)


class Over(Switchable):
    """A Temporal that answers each signal, after a moment, that the run is over."""

    async def send(self, signal: Signal, *, within: float = 2.2) -> Reached:
        await asyncio.sleep(0)
        return Reached.FINISHED


@timed(fate_wait=30.0)
async def test_a_released_refusal_is_answered_alike_for_good(database: Database, timing: Timing) -> None:
    """The repeat that comes while it is queued again is answered 2xx, and so is every repeat after that."""
    one = delivery()
    async with opened(database, Over(), timing) as door:
        answers = [await door.deliver(one, "same")]
        release(Archive(database), one.id, time.time() + FOR_EVER, Here())
        answers.append(await door.deliver(delivery(), "same"))
        with database.begin() as connection:
            connection.execute(sa.update(DELIVERIES).where(DELIVERIES.c.id == one.id).values(due_at=time.time()))
        await eventually(lambda: fate_of(database, one) is Fate.REFUSED)
        answers.append(await door.deliver(delivery(), "same"))
    assert answers == [Verdict.GONE, Verdict.DUPLICATE, Verdict.DUPLICATE]
