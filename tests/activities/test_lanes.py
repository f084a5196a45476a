"""Lanes on the real server: a partner's calls hold up no other partner's, and are held by Temporal for all workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
import respx
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities import reach as reach_module
from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.client import TemporalUnreachable
from activities.environment import Environment
from activities.http import http_client
from activities.lanes import ACTIVITY, SLOW_RATE, Hold, hold_lane, look_at_lane, release_lane
from activities.partners import sandbox
from activities.partners.partner import Partner
from activities.reach import MOST_MISSES, Reach
from activities.signatures import ConfigError
from activities.worker import LanedWorker, build_worker
from tests.commands import command
from tests.parts.told import told
from tests.support import KEY, QUEUE, RUN_TIMEOUT, SOON, Handle, progress_of, stage, start, until_event, waiting
from workflows.contract import Answer

CALLS = "http://sandbox.test/{}/calls"
TAKEN = httpx.Response(202, json={"id": "work-1"})


def partner(name: str, **changes: object) -> Partner:
    return replace(
        sandbox.partner(name, Environment({"SANDBOX_URL": "http://sandbox.test"})),
        **changes,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def calling(client: Client, *partners: Partner, reach: Reach | None = None) -> AsyncIterator[LanedWorker]:
    async with http_client() as http:
        urls = CallbackURLs("http://receiver.test", [KEY])
        calls = PartnerCalls(http, urls, {one.name: one for one in partners}, reach=reach)
        async with build_worker(client, calls, task_queue=QUEUE) as worker:
            yield worker


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `tests/activities/test_reach.py` overwrites a pause."""
    monkeypatch.setattr("activities.lanes.PAUSE_CHECKS", ())


@pytest.fixture
def http() -> Iterator[respx.MockRouter]:
    with respx.mock as router:
        yield router


async def test_calls_that_hang_hold_up_no_other_partner(real: WorkflowEnvironment, http: respx.MockRouter) -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def hang(request: httpx.Request) -> httpx.Response:
        begun.release()
        await go_on.wait()
        return TAKEN

    http.post(CALLS.format("bank")).mock(side_effect=hang)
    http.post(CALLS.format("cards")).mock(return_value=TAKEN)
    async with calling(real.client, partner("bank", calls_at_once=2), partner("cards")):
        for number in range(4):
            await start(real.client, stage(1, partner="bank"), id=f"hangs-{number}")
        async with asyncio.timeout(RUN_TIMEOUT):
            await begun.acquire()
            await begun.acquire()
        await waiting(await start(real.client, stage(1, partner="cards"), id="other"))
        at_once = 2 + begun._value
        go_on.set()
    assert at_once == 2


async def test_a_question_does_not_wait_for_calls_that_hang(real: WorkflowEnvironment, http: respx.MockRouter) -> None:
    go_on, begun = asyncio.Event(), asyncio.Event()
    answers = iter([TAKEN])

    async def first_then_hang(request: httpx.Request) -> httpx.Response:
        if answer := next(answers, None):
            return answer
        begun.set()
        await go_on.wait()
        return TAKEN

    http.post(CALLS.format("bank")).mock(side_effect=first_then_hang)
    asked = http.get("http://sandbox.test/bank/status").mock(return_value=httpx.Response(200))
    askable = partner(
        "bank",
        calls_at_once=1,
        build_ask=lambda call, reference: httpx.Request("GET", "http://sandbox.test/bank/status"),
        read_status=lambda response: Answer("succeeded"),
    )
    async with calling(real.client, askable):
        handle = await start(real.client, stage(1, partner="bank", timeout=2.0), id="asks")
        await waiting(handle)
        await start(real.client, stage(1, partner="bank"), id="hangs")
        async with asyncio.timeout(RUN_TIMEOUT):
            await begun.wait()
            await handle.result()
        go_on.set()
    assert asked.called


async def test_a_paused_partner_is_not_called_until_it_is_resumed(
    real: WorkflowEnvironment, http: respx.MockRouter
) -> None:
    bank = http.post(CALLS.format("bank")).mock(return_value=TAKEN)
    http.post(CALLS.format("cards")).mock(return_value=TAKEN)
    async with calling(real.client, partner("bank"), partner("cards")):
        paused = await told(
            real, "partner", "pause", "bank", "--reason", "moves house", "--actor", "ada", TASK_QUEUE=QUEUE
        )
        handle = await start(real.client, stage(1, partner="bank"), id="held")
        await until_event(handle, "activity_task_scheduled_event_attributes")
        await waiting(await start(real.client, stage(1, partner="cards"), id="other"))
        called_while_paused = bank.call_count
        shown = await told(real, "pipeline", "show", "held")
        listed = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="bank,cards")
        resumed = await told(real, "partner", "resume", "bank", TASK_QUEUE=QUEUE)
        await waiting(handle)
        again = await told(real, "partner", "resume", "bank", TASK_QUEUE=QUEUE)
    assert (paused.code, resumed.code, called_while_paused, bank.call_count) == (0, 0, 0, 1)
    assert "paused: no call to bank begins until `stagehook partner resume bank`" in paused.err
    assert "waits: paused by ada since" in shown.out
    assert "moves house" in shown.out
    assert "moves house" in next(line for line in listed.out.splitlines() if line.startswith("bank"))
    assert next(line for line in listed.out.splitlines() if line.startswith("cards")).split()[1:] == ["yes", "served"]
    assert again.code == 1
    assert "nothing holds the calls to bank" in again.err


async def test_a_lane_that_no_worker_serves_is_told(real: WorkflowEnvironment, http: respx.MockRouter) -> None:
    http.post(CALLS.format("cards")).mock(return_value=TAKEN)
    async with calling(real.client, partner("cards")):
        handle = await start(real.client, stage(1, partner="bank"))
        await until_event(handle, "activity_task_scheduled_event_attributes")
        shown = await told(real, "pipeline", "show", "run")
        listed = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="bank")
        runs = await told(real, "pipeline", "list", TASK_QUEUE=QUEUE)
        state = (await progress_of(handle)).stages[0].state
    says = f"no worker has asked for tasks from {QUEUE}.bank for 90 s: start `stagehook worker` with bank in PARTNERS"
    assert state == "calling"
    assert f"waits: {says}" in shown.out
    assert says in " ".join(listed.out.split())
    assert f"calls to bank: {says}" in runs.err


async def test_a_pause_of_a_lane_without_workers_is_told(real: WorkflowEnvironment) -> None:
    """With another TASK_QUEUE than the workers', a pause holds nothing."""
    paused = await told(real, "partner", "pause", "bank", "--reason", "x", TASK_QUEUE="mistyped")
    says = "no worker has asked for tasks from mistyped.bank for 90 s: set TASK_QUEUE and TEMPORAL_NAMESPACE"
    assert (paused.code, says in paused.err) == (0, True)


async def test_a_pause_holds_although_its_calls_cannot_be_counted(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many runs are looked at for it, which takes long where Temporal is far away."""

    async def fail(*_: object) -> tuple[int, bool]:
        raise TemporalUnreachable("Temporal: no answer in time (10 s)")

    monkeypatch.setattr("receiver.cli.partner.lanes.retried_calls", fail)
    paused = await told(real, "partner", "pause", "bank", "--reason", "x", TASK_QUEUE="uncounted")
    assert (paused.code, paused.err.splitlines()[0]) == (
        0,
        "paused: no call to bank begins until `stagehook partner resume bank`",
    )
    assert "is not known: Temporal: no answer in time (10 s)" in paused.err


async def test_a_pause_says_of_which_calls_it_does_not_know(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def more(*_: object) -> tuple[int, bool]:
        return 0, True

    monkeypatch.setattr("receiver.cli.partner.lanes.retried_calls", more)
    paused = await told(real, "partner", "pause", "bank", "--reason", "x", TASK_QUEUE="many")
    assert "only 500 open runs were looked at for calls to bank that had a try already" in paused.err


async def test_pause_counts_the_calls_that_had_a_try(real: WorkflowEnvironment, http: respx.MockRouter) -> None:
    tried = asyncio.Event()

    def busy(request: httpx.Request) -> httpx.Response:
        tried.set()
        return httpx.Response(503, headers={"Retry-After": "3000"})

    http.post(CALLS.format("bank")).mock(side_effect=busy)
    async with calling(real.client, partner("bank")):
        handle = await start(real.client, stage(1, partner="bank"))
        async with asyncio.timeout(RUN_TIMEOUT):
            await tried.wait()
            await once(lambda: between_tries(handle))
        paused = await told(real, "partner", "pause", "bank", "--reason", "x", TASK_QUEUE=QUEUE)
        shown = await told(real, "pipeline", "show", "run")
    assert "call tried 2 times, last: partner bank answered 503" in shown.out
    assert "1 call to bank had a try already, and may fail before the pause ends (call_within)" in paused.err


async def once(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(RUN_TIMEOUT):
        while not await holds():
            await asyncio.sleep(0.02)


async def between_tries(handle: Handle) -> bool:
    described = await handle.describe()
    return any(pending.attempt > 1 for pending in described.raw_description.pending_activities)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nobank", "--reason", "x"), "no partner is named 'nobank'"),
        (("bank", "--reason", " "), "--reason has 1 characters"),
        (("bank", "--reason", "x" * 301), "--reason has 301 characters"),
        (("bank", "--reason", "x", "--until", "2020-01-01"), "--until 2020-01-01 00:00:00 UTC is over"),
        (("bank", "--reason", "x", "--until", "soon"), "invalid --until 'soon': use a duration such as 2h"),
        (("bank",), "Missing option '--reason'"),
    ],
)
async def test_what_cannot_be_a_pause_is_refused(real: WorkflowEnvironment, words: tuple[str, ...], says: str) -> None:
    done = await told(real, "partner", "pause", *words)
    assert done.code == 2
    assert says in done.err


async def test_partners_are_listed_without_temporal() -> None:
    done = await asyncio.to_thread(command, "partner", "list", PARTNERS="bank", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert done.code == 0
    assert "lanes: not known: Temporal at 127.0.0.1:1" in done.err
    assert "bank" in done.out


async def test_a_worker_ends_a_pause_that_is_over(real: WorkflowEnvironment) -> None:
    client = real.client
    await hold_lane(client, "lane", Hold("operator", "x", actor="ada", until=time.time() - 1))
    held = await look_at_lane(client, "lane")
    await Reach(client, "lane").look()
    assert held.hold is not None
    async with asyncio.timeout(3 * SOON):
        while (await look_at_lane(client, "lane")).hold is not None:  # each of the queue's partitions learns of it
            await asyncio.sleep(0.05)


async def test_a_pause_that_is_not_over_outranks_the_misses(real: WorkflowEnvironment) -> None:
    client, reach = real.client, Reach(real.client, "lane")
    await hold_lane(client, "lane", Hold("operator", "x", actor="ada", until=time.time() + 3600))
    misses(reach)
    await reach.look()
    reach.reached(reach.began())
    await reach.look()
    hold = (await look_at_lane(client, "lane")).hold
    assert hold is not None
    assert (hold.by, hold.actor, hold.reason, hold.rate) == ("operator", "ada", "x", 0.0)


async def test_a_partner_that_is_not_reached_is_called_seldom(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine misses and a success do not count; ten in a row do, and another worker's success ends it."""
    monkeypatch.setattr(reach_module, "LOOK_SECONDS", 3600.0)
    client, reach = real.client, Reach(real.client, "lane")
    misses(reach, MOST_MISSES - 1)
    reach.reached(reach.began())
    misses(reach, 1)
    await reach.look()
    assert (await look_at_lane(client, "lane")).hold is None
    async with reach.running():
        misses(reach, MOST_MISSES - 1)
        await once(lambda: is_held(client))
    hold = (await look_at_lane(client, "lane")).hold
    assert hold is not None
    assert (hold.by, round(hold.rate, 4)) == ("worker", round(SLOW_RATE, 4))
    other = Reach(client, "lane")
    async with other.running():
        await once(lambda: knows(other))
        other.reached(other.began())
        await once(lambda: is_free(client))


async def test_misses_from_before_a_hold_has_ended_do_not_count(real: WorkflowEnvironment) -> None:
    """Otherwise a lane that an operator has resumed, or another worker's success, becomes slow at the next look."""
    client, reach = real.client, Reach(real.client, "lane")
    for held in (None, Hold("operator", "x", actor="ada")):
        if held is not None:
            await hold_lane(client, "lane", held)
            await once(lambda: is_held(client))
        misses(reach)
        await reach.look()
        await once(lambda: is_held(client))
        await release_lane(client, "lane", actor="ada", reason="it is there again")
        await once(lambda: is_free(client))
        for _ in range(2):
            await reach.look()
            assert await is_free(client)
    await hold_lane(client, "lane", Hold("operator", "x", actor="ada", until=time.time() - 1))
    await once(lambda: is_held(client))  # Temporal shows a new rate a moment later
    misses(reach)
    await reach.look()
    await once(lambda: is_free(client))
    await reach.look()
    assert await is_free(client)
    misses(reach)
    await reach.look()
    await once(lambda: is_held(client))


async def knows(reach: Reach) -> bool:
    return reach._is_slow()


def misses(reach: Reach, count: int = MOST_MISSES) -> None:
    for _ in range(count):
        reach.missed(reach.began())


async def is_held(client: Client) -> bool:
    return (await look_at_lane(client, "lane")).hold is not None


async def is_free(client: Client) -> bool:
    return not await is_held(client)


@pytest.mark.system
async def test_only_a_failed_connection_is_a_miss(real: WorkflowEnvironment, http: respx.MockRouter) -> None:
    counted: list[str] = []
    reach = Reach(real.client, "lane")
    reach.missed = lambda began: counted.append("missed")  # type: ignore[method-assign]
    reach.reached = lambda began: counted.append("reached")  # type: ignore[method-assign]
    tries: list[Exception | httpx.Response] = [
        httpx.ConnectError("refused"),
        httpx.PoolTimeout("our own"),
        httpx.ReadTimeout("lost"),
        httpx.Response(500),
        TAKEN,
    ]
    http.post(CALLS.format("bank")).mock(side_effect=tries)
    async with calling(real.client, partner("bank"), reach=reach):
        await waiting(await start(real.client, stage(1, partner="bank")))
    assert counted == ["missed", "reached", "reached", "reached"]


async def test_the_server_gets_the_partners_calls_per_second(real: WorkflowEnvironment) -> None:
    lane = f"{QUEUE}.bank"
    async with calling(real.client, partner("bank", calls_per_second=7.0)):
        await once(lambda: is_served(real.client, lane))
        found = await real.client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=real.client.namespace, task_queue=TaskQueue(name=lane), task_queue_type=ACTIVITY
            )
        )
    assert {poller.rate_per_second for poller in found.pollers} == {7.0}


async def is_served(client: Client, lane: str) -> bool:
    return (await look_at_lane(client, lane)).served


async def test_a_pause_ends_when_it_was_said_to(real: WorkflowEnvironment) -> None:
    words = ("partner", "pause", "bank", "--reason", "x", "--until", "2h")
    paused = await told(real, *words, TASK_QUEUE=QUEUE, PARTNERS="bank")
    assert paused.code == 0, paused.err
    hold = (await look_at_lane(real.client, f"{QUEUE}.bank")).hold
    assert hold is not None
    assert 3600 < hold.until - time.time() <= 7200


async def test_a_pause_that_no_worker_has_ended_is_told(real: WorkflowEnvironment) -> None:
    lane = f"{QUEUE}.bank"
    await hold_lane(real.client, lane, Hold("operator", "x", actor="ada", until=time.time() - 1))
    listed = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="bank")
    await release_lane(real.client, lane, actor="ada", reason="x")
    assert "no worker has ended it; `stagehook partner resume bank` does" in " ".join(listed.out.split())


async def test_a_rate_of_another_program_is_shown_and_left(real: WorkflowEnvironment) -> None:
    client = real.client
    await hold_lane(client, f"{QUEUE}.bank", Hold("other", "x", rate=5.0))
    await Reach(client, f"{QUEUE}.bank").look()
    listed = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="bank")
    await release_lane(client, f"{QUEUE}.bank", actor="ada", reason="x")
    assert "held to 5 calls a second by" in listed.out


@pytest.mark.parametrize(
    "changes", [{"calls_at_once": 0}, {"calls_per_second": -1.0}, {"calls_per_second": float("nan")}]
)
def test_a_partners_limits_are_checked(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        partner("bank", **changes)
