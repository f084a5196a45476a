"""How the results of tries are recorded, and what they tell."""

from __future__ import annotations

import asyncio
import time

import pytest

from activities.store.database import Database
from receiver.deliveries import writer as writer_module
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Conclusion
from tests.parts.deliveries import delivery, keep
from tests.parts.hanging import Hanging


async def test_a_note_that_cannot_be_written_spoils_no_conclusion(inbox: Inbox, database: Database) -> None:
    one = delivery()
    await keep(inbox, one, "a")
    inbox._writer.put(hanging := Hanging())  # so that the next ones go together
    await hanging.begun.wait()
    inbox.note(delivery(reason="\ud800"))
    inbox.conclude(Conclusion(one.id, Fate.TAKEN))
    hanging.release()
    for _ in range(2):  # what is waited for is done first
        await inbox.depth()
    assert Archive(database).get(one.id).fate is Fate.TAKEN


async def test_a_fate_is_committed_together_with_the_next_callback(
    inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "GATHERED_SECONDS", 3600.0)
    await keep(inbox, one := delivery(), "a")
    inbox.conclude(Conclusion(one.id, Fate.TAKEN))
    await asyncio.sleep(0.1)
    assert Archive(database).get(one.id).fate is Fate.PENDING
    await keep(inbox, delivery("chain-2"), "b")
    assert Archive(database).get(one.id).fate is Fate.TAKEN


async def test_a_late_failure_changes_no_final_fate(inbox: Inbox, database: Database) -> None:
    one = delivery()
    await keep(inbox, one, "a")
    inbox.conclude(Conclusion(one.id, Fate.TAKEN))
    await inbox.depth()
    inbox.conclude(Conclusion(one.id, Fate.PARKED, "a sender that was asleep"))
    inbox.conclude(Conclusion(one.id, Fate.PENDING, due_at=time.time()))
    await inbox.depth()
    assert Archive(database).get(one.id).fate is Fate.TAKEN
    assert await inbox.claim(10) == []


async def test_a_fate_tells_whether_its_chain_has_more_to_send(inbox: Inbox) -> None:
    """The sender then looks at the queue at once."""
    told: list[bool] = []
    inbox.on_concluded = lambda concluded: told.append(concluded.has_next)
    first, next_ = delivery(), delivery()
    await keep(inbox, first, "a")
    await keep(inbox, next_, "b")
    for one in (first, next_):
        assert one.chain_id
        inbox.conclude(Conclusion(one.id, Fate.TAKEN, stage=(one.chain_id, one.stage)))
        await inbox.depth()
    await asyncio.sleep(0)
    assert told == [True]


async def test_a_deleted_delivery_tells_whether_its_chain_has_more(inbox: Inbox) -> None:
    """Its refusal was over the budget of records."""
    told: list[bool] = []
    inbox.on_concluded = lambda concluded: told.append(concluded.has_next)
    next_ = delivery()
    await keep(inbox, next_, "b")
    inbox.conclude(Conclusion("deleted", Fate.REFUSED, stage=(next_.chain_id, next_.stage)))
    await inbox.depth()
    await asyncio.sleep(0)
    assert told == [True]


async def test_the_next_of_a_stage_is_leased_with_the_fate_before(inbox: Inbox) -> None:
    """Only the next one, only once it is due, and not while the receiver stops."""
    leased: list[list[str]] = []
    inbox.on_concluded = lambda concluded: leased.append([queued.id for queued in concluded.next])
    inbox.room_for_next = lambda: 1
    ones, elsewhere = [delivery() for _ in range(4)], delivery(stage=2)
    for one in (*ones, elsewhere):
        await keep(inbox, one, one.id, lease=False)
    late = Conclusion(ones[2].id, Fate.PENDING, due_at=time.time() + 600)
    for conclusion in (late, *(Conclusion(one.id, Fate.TAKEN, stage=(one.chain_id, 1)) for one in ones[:2])):
        inbox.conclude(conclusion, soon=True)
        await inbox.depth()
    await asyncio.sleep(0)
    assert leased == [[ones[1].id], []]
    inbox.room_for_next = lambda: 0
    inbox.conclude(Conclusion(ones[2].id, Fate.TAKEN, stage=(ones[2].chain_id, 1)))
    await inbox.depth()
    await asyncio.sleep(0)
    assert leased[2:] == [[]]
    assert {queued.id for queued in await inbox.claim(10)} == {ones[3].id, elsewhere.id}


async def test_what_is_leased_with_a_fate_is_told_once_committed(inbox: Inbox) -> None:
    """What is told of a transaction that fails would be sent without a lease, and again after the second attempt."""
    leased: list[list[str]] = []
    inbox.on_concluded = lambda concluded: leased.append([queued.id for queued in concluded.next])
    inbox.room_for_next = lambda: 1
    one, next_ = delivery(), delivery()
    for each in (one, next_):
        await keep(inbox, each, each.id, lease=False)
    inbox._writer.put(hanging := Hanging())  # so that the next ones go together
    await hanging.begun.wait()
    inbox.note(delivery(reason="\ud800"))
    inbox.conclude(Conclusion(one.id, Fate.TAKEN, stage=(one.chain_id, 1)))
    hanging.release()
    for _ in range(2):
        await inbox.depth()
    assert leased == [[next_.id]]
