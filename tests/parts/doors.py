"""A forwarder on a store and a switchable Temporal: what a receiver does with a delivery, without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from activities.store.database import Database
from receiver.answers import Verdict
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.inbox import Inbox
from receiver.sending.forwarder import Forwarder
from receiver.sending.signal import Signal
from receiver.sending.stored import Stored
from receiver.timing import Timing
from tests.parts.switchable import Switchable
from tests.stores import PATIENT
from workflows.contract import Answer, Callback


class Door:
    """A forwarder on a store and a switchable Temporal, and what tests ask of it."""

    def __init__(
        self, database: Database, temporal: Switchable, timing: Timing = PATIENT, *, packs: bool = False
    ) -> None:
        self.inbox = Inbox(database, timing, packs=packs)
        self.forwarder = Stored(temporal, self.inbox, timing)

    async def deliver(self, one: Delivery, request_id: str = "") -> Verdict:
        return await deliver(self.forwarder, one, request_id)


async def deliver(forwarder: Forwarder, one: Delivery, request_id: str = "") -> Verdict:
    assert one.claims is not None
    callback = Callback(Answer("succeeded", {"n": 1}), one.chain_id, one.attempt, one.issued_at)
    return await forwarder.deliver(one, Signal(one.claims, callback, request_id or one.id))


@asynccontextmanager
async def opened(database: Database, temporal: Switchable, timing: Timing = PATIENT) -> AsyncIterator[Door]:
    door = Door(database, temporal, timing)
    async with door.forwarder.running():
        yield door


@pytest.fixture
def temporal() -> Switchable:
    return Switchable()


@pytest.fixture
async def door(database: Database, temporal: Switchable, timing: Timing) -> AsyncIterator[Door]:
    async with opened(database, temporal, timing) as door:
        yield door


def fate_of(database: Database, one: Delivery) -> Fate:
    return Archive(database).get(one.id).fate
