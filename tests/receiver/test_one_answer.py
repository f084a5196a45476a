"""One content at two receivers on one store at the same time: one answer, in every order of their steps."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, cast

import pytest
from sqlalchemy.engine.interfaces import DBAPICursor

from activities.store.database import Database
from activities.store.errors import StoreAway
from receiver.deliveries.archive import Archive
from receiver.deliveries.statements import Statements
from receiver.sending.forwarder import Unavailable
from receiver.sending.signals import Reached
from receiver.timing import Timing
from tests.parts.deliveries import delivery, queued
from tests.parts.doors import Door, opened
from tests.parts.switchable import Switchable
from tests.stores import UNHURRIED
from tests.support import SOON

pytestmark = pytest.mark.usefixtures("unhurried_locks")

STEPS = 3
"""Of one receiver at most: keep, send and tell, or keep and promise."""

ORDERS = sorted({"".join(order) for order in itertools.permutations("A" * STEPS + "B" * STEPS)})


class Stepped:
    """A receiver's request that stops before each step, and goes on by one when it is let."""

    def __init__(self, door: Door, temporal: Switchable, monkeypatch: pytest.MonkeyPatch) -> None:
        self._door = door
        self._let = asyncio.Semaphore(0)
        self._stopped = asyncio.Event()
        for name in ("keep", "tell", "promise"):
            monkeypatch.setattr(door.inbox, name, self._stopping(getattr(door.inbox, name)))
        monkeypatch.setattr(temporal, "send", self._stopping(temporal.send))

    def _stopping(self, step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def stop_before(*args: Any, **options: Any) -> Any:
            self._stopped.set()
            await self._let.acquire()
            return await step(*args, **options)

        return stop_before

    async def begin(self) -> None:
        self.request = asyncio.create_task(self._deliver())
        await self._until_it_stops()

    async def go_on(self) -> None:
        """Let it take one step; nothing happens if it has answered."""
        if not self.request.done():
            self._stopped.clear()
            self._let.release()
            await self._until_it_stops()

    async def _until_it_stops(self) -> None:
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait([stopped, self.request], timeout=SOON, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()

    async def _deliver(self) -> int:
        return await status_of(self._door)

    def let_all(self) -> None:
        for _ in range(10):
            self._let.release()


async def status_of(door: Door) -> int:
    try:
        return (await door.deliver(delivery(), "a")).status
    except Unavailable:
        return 503


@pytest.fixture(params=[Reached.FINISHED, Reached.UNKNOWN])
def ended(request: pytest.FixtureRequest) -> Reached:
    reached: Reached = request.param
    return reached


def temporal_without(run: Reached) -> Switchable:
    temporal = Switchable()
    temporal.answers["run"] = run
    return temporal


@pytest.mark.system
@pytest.mark.parametrize("waits", [SOON, 0.0], ids=["fate-in-time", "fate-after-the-answer"])
async def test_every_order_of_two_receivers_gives_one_answer(
    database: Database, ended: Reached, waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = replace(UNHURRIED, fate_wait=waits)
    seen = set()
    for order in ORDERS:
        with monkeypatch.context() as patches:
            statuses = await run_in_order(database, ended, order, timing, patches)
        assert len(set(statuses)) == 1, f"{order}: {statuses}"
        seen.add(statuses[0])
    refused = {Reached.FINISHED: 410, Reached.UNKNOWN: 404}[ended]
    assert seen == ({202, refused} if waits else {202}), "orders of both kinds were tried"


async def run_in_order(
    database: Database, ended: Reached, order: str, timing: Timing, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """The answers to both, and to a third request after them."""
    Archive(database).prune(float("inf"))
    async with AsyncExitStack() as stack:
        receivers = {}
        doors = {}
        for name in "AB":
            temporal = temporal_without(ended)
            doors[name] = door = await stack.enter_async_context(opened(database, temporal, timing))
            receivers[name] = Stepped(door, temporal, monkeypatch)
        for receiver in receivers.values():
            await receiver.begin()
        for name in order:
            await receivers[name].go_on()
        for receiver in receivers.values():
            receiver.let_all()
        statuses = [await receiver.request for receiver in receivers.values()]
        await doors["B"].inbox.depth()
        return [*statuses, await status_of(doors["B"])]


@pytest.mark.parametrize("recorded", [True, False])
async def test_fifty_at_each_of_two_receivers_get_one_answer(
    database: Database, ended: Reached, monkeypatch: pytest.MonkeyPatch, *, recorded: bool
) -> None:
    """If the refusal is beyond the budget of records, some are asked to come again."""
    temporal = temporal_without(ended)
    async with opened(database, temporal, UNHURRIED) as one, opened(database, temporal, UNHURRIED) as other:
        for door in (one, other):
            monkeypatch.setattr(door.inbox.budget, "allows", lambda *_: recorded)
        statuses = await asyncio.gather(*(status_of(door) for door in (one, other) for _ in range(50)))
    assert len(set(statuses) - (set() if recorded else {503})) == 1


async def test_a_copy_beside_an_unrecorded_refusal_is_told_alike(
    database: Database, ended: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refused row is deleted, so the copy is new, while the process still knows of the first."""
    async with opened(database, temporal_without(ended), UNHURRIED) as door:
        told, kept, go_on = asyncio.Event(), asyncio.Semaphore(0), asyncio.Event()
        keep, tell = door.inbox.keep, door.inbox.tell

        async def keep_and_say(*args: Any, **options: Any) -> Any:
            how = await keep(*args, **options)
            kept.release()
            return how

        async def tell_and_wait(refusal: Any) -> bool:
            may = await tell(refusal)
            told.set()
            await go_on.wait()
            return may

        monkeypatch.setattr(door.inbox, "keep", keep_and_say)
        monkeypatch.setattr(door.inbox, "tell", tell_and_wait)
        monkeypatch.setattr(door.inbox.budget, "allows", lambda *_: False)
        async with asyncio.timeout(3 * SOON):
            first = asyncio.create_task(status_of(door))
            await kept.acquire()
            await told.wait()
            copy = asyncio.create_task(status_of(door))
            await kept.acquire()
            go_on.set()
            statuses = [await first, await copy]
        await door.inbox.depth()
        assert statuses == [{Reached.FINISHED: 410, Reached.UNKNOWN: 404}[ended]] * 2
        assert list(Archive(database).every()) == []


async def test_a_copy_that_is_judged_while_its_first_comes_and_goes(
    database: Database, ended: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other receiver keeps the content, is refused and deletes it between this one's read and its insert."""
    if database.is_sqlite:
        pytest.skip("a transaction that writes is alone there")
    temporal, loop = temporal_without(ended), asyncio.get_running_loop()
    async with opened(database, temporal, UNHURRIED) as one, opened(database, temporal, UNHURRIED) as other:
        looked, told = asyncio.Event(), threading.Event()
        tell, look = one.inbox.tell, other.inbox._statements.look

        async def tell_and_say(refusal: Any) -> bool:
            may = await tell(refusal)
            told.set()
            return may

        def look_before(*args: Any) -> Any:
            found = look(*args)
            loop.call_soon_threadsafe(looked.set)
            assert told.wait(3 * SOON)
            return found

        for door in (one, other):
            monkeypatch.setattr(door.inbox.budget, "allows", lambda *_: False)
        monkeypatch.setattr(one.inbox, "tell", tell_and_say)
        monkeypatch.setattr(other.inbox._statements, "look", look_before)
        async with asyncio.timeout(6 * SOON):
            copy = asyncio.create_task(status_of(other))
            await looked.wait()
            statuses = [await status_of(one), await copy]
    assert statuses == [{Reached.FINISHED: 410, Reached.UNKNOWN: 404}[ended]] * 2


def test_contents_and_queues_are_looked_up_in_one_statement(database: Database) -> None:
    """Between two statements another receiver could keep, refuse and delete the content."""
    connection, statements, asked = database.connect(), Statements(database), list[str]()

    class Counting:
        def __init__(self, cursor: Any) -> None:
            self.fetchall = cursor.fetchall
            self._execute = cursor.execute

        def execute(self, query: str, parameters: Any, **how: Any) -> None:
            asked.append(query)
            self._execute(query, parameters, **how)

    statements.look(cast(DBAPICursor, Counting(connection.cursor())), [queued(delivery(), "a")])
    connection.close()
    assert len(asked) == 1


async def test_a_refusal_that_cannot_be_recorded_is_not_told(
    database: Database, ended: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another receiver may have promised a 202 meanwhile."""
    async with opened(database, temporal_without(ended)) as door:

        async def away(refusal: object) -> bool:
            raise StoreAway("no commit")

        monkeypatch.setattr(door.inbox, "tell", away)
        assert await status_of(door) == 503
        await door.inbox.depth()
        assert [one.status for one in Archive(database).every()] == [503]
