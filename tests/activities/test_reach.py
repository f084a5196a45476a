"""A worker slows the lane of a partner that it does not reach, and ends what holds a lane; Temporal is a fake."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    UpdateTaskQueueConfigRequest,
    UpdateTaskQueueConfigResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import lanes as lanes_module
from activities import reach as reach_module
from activities.lanes import SLOW_RATE, Hold, hold_lane, look_at_lane, look_at_limit, release_lane
from activities.reach import MOST_MISSES, Reach
from receiver.telling.lanes import hold_text
from tests.support import RUN_TIMEOUT

PAUSE = Hold("operator", "x", actor="ada")


class Temporal:
    """The configuration of a lane's task queue, as Temporal keeps it.

    refuses: the status of every answer, if any. ahead: seconds by which its clock is ahead of the workers'.
    """

    def __init__(self, refuses: RPCStatusCode | None = None, ahead: int = 0) -> None:
        self.refuses = refuses
        self.looks = asyncio.Semaphore(0)
        self.late: DescribeTaskQueueResponse | None = None
        self.after_update: Callable[[], Awaitable[object]] | None = None
        self._found = DescribeTaskQueueResponse()
        self._now = int(time.time()) + ahead

    @property
    def client(self) -> Client:
        service: Any = SimpleNamespace(describe_task_queue=self._describe, update_task_queue_config=self._update)
        return cast(Client, SimpleNamespace(namespace="default", workflow_service=service))

    async def _describe(self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        self.looks.release()
        if self.refuses is not None:
            raise RPCError("Request unauthorized.", self.refuses, b"")
        copy = DescribeTaskQueueResponse()
        copy.CopyFrom(self.late or self._found)
        return copy

    async def lag(self) -> None:
        """Show the present configuration for now, whatever it becomes."""
        self.late = await self._describe(DescribeTaskQueueRequest())

    async def _update(self, request: UpdateTaskQueueConfigRequest) -> UpdateTaskQueueConfigResponse:
        limit = self._found.config.queue_rate_limit
        self._now += 1
        limit.Clear()
        if request.update_queue_rate_limit.HasField("rate_limit"):
            limit.rate_limit.CopyFrom(request.update_queue_rate_limit.rate_limit)
        limit.metadata.reason = request.update_queue_rate_limit.reason
        limit.metadata.update_identity = request.identity
        limit.metadata.update_time.seconds = self._now
        after, self.after_update = self.after_update, None
        if after is not None:
            await after()
        return UpdateTaskQueueConfigResponse(config=self._found.config)


@pytest.mark.parametrize("status", [RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED])
async def test_a_worker_looks_on_after_a_refusal(
    status: RPCStatusCode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that a key lacks for a minute must not leave a pause in place after its end."""
    monkeypatch.setattr(reach_module, "REFUSED_SECONDS", 0.0)
    temporal = Temporal(refuses=status)
    with caplog.at_level(logging.INFO, "stagehook.lanes"):
        async with Reach(temporal.client, "lane").running(), asyncio.timeout(RUN_TIMEOUT):
            for _ in range(3):
                await temporal.looks.acquire()
    assert caplog.messages == ["lane-not-held"]


@pytest.mark.parametrize("ahead", [-600, 0, 600])
async def test_a_slow_lane_ends_whatever_the_clocks_say(ahead: int) -> None:
    temporal = Temporal(ahead=ahead)
    reach, other = Reach(temporal.client, "lane"), Reach(temporal.client, "lane")
    reach.reached(reach.began())
    await slow_down(other)
    await reach.look()
    await reach.look()
    assert await is_slow(temporal)  # a success from before it does not count
    reach.reached(reach.began())
    await reach.look()
    assert not await is_slow(temporal)


async def test_a_call_from_before_a_slow_lane_does_not_end_it() -> None:
    """Its connection was made before the partner went away."""
    temporal = Temporal()
    reach = Reach(temporal.client, "lane")
    hanging = reach.began()
    await slow_down(reach)
    reach.reached(hanging)
    await reach.look()
    assert await is_slow(temporal)
    reach.reached(reach.began())
    await reach.look()
    assert not await is_slow(temporal)


async def test_a_rate_that_is_shown_late_does_not_mislead() -> None:
    """A worker that reaches the partner just after it has slowed the lane ends that, once Temporal shows the rate."""
    temporal = Temporal()
    reach = Reach(temporal.client, "lane")
    await temporal.lag()
    await slow_down(reach)
    reach.reached(reach.began())
    await reach.look()
    temporal.late = None
    await reach.look()
    assert not await is_slow(temporal)


async def test_a_worker_that_alone_misses_slows_the_lane_once() -> None:
    """Others reach the partner: its own way there is at fault, and they would wait for it again and again."""
    temporal = Temporal()
    reach, other = Reach(temporal.client, "lane"), Reach(temporal.client, "lane")
    await slow_down(reach)
    await end_by(other)
    await slow_down(reach)
    assert not await is_slow(temporal)
    reach.reached(reach.began())
    await slow_down(reach)
    assert await is_slow(temporal)


async def test_a_lane_that_an_operator_resumed_may_become_slow() -> None:
    temporal = Temporal()
    reach = Reach(temporal.client, "lane")
    await slow_down(reach)
    await release_lane(temporal.client, "lane", actor="ada", reason="try again")
    await slow_down(reach)
    assert await is_slow(temporal)


@pytest.mark.parametrize(("calls_per_second", "rate"), [(0.0, SLOW_RATE), (7.0, SLOW_RATE), (0.01, 0.01)])
async def test_a_slow_lane_is_never_faster_than_its_partner_allows(calls_per_second: float, rate: float) -> None:
    temporal = Temporal()
    await slow_down(Reach(temporal.client, "lane", calls_per_second))
    hold = (await look_at_lane(temporal.client, "lane")).hold
    assert hold is not None
    assert hold.rate == pytest.approx(rate)


def test_a_slow_lane_is_told_with_both_of_its_paces() -> None:
    """The lane's queue may have one partition, or four by default: each begins a quarter of the calls."""
    hold = Hold("worker", "10 calls in a row did not reach the partner", rate=SLOW_RATE)
    assert hold_text("bank", hold).endswith("; a call is tried every 30 to 120 s until one reaches it")


@pytest.mark.parametrize("is_slow_before", [False, True])
async def test_a_pause_that_a_worker_overwrites_is_set_again(
    monkeypatch: pytest.MonkeyPatch, *, is_slow_before: bool
) -> None:
    """The worker has looked just before. Temporal cannot set a rate on the condition that it is still the same."""
    monkeypatch.setattr(lanes_module, "PAUSE_CHECKS", (0.0, 0.0))
    temporal = Temporal()
    reach = Reach(temporal.client, "lane")
    if is_slow_before:
        await slow_down(reach)
        await reach.look()
        reach.reached(reach.began())
    else:
        for _ in range(MOST_MISSES):
            reach.missed(reach.began())
    await temporal.lag()

    async def overwrite() -> None:
        await reach.look()
        temporal.late = None
        overwritten.append((await look_at_limit(temporal.client, "lane")).hold)

    overwritten: list[Hold | None] = []
    temporal.after_update = overwrite
    await hold_lane(temporal.client, "lane", PAUSE)
    hold = (await look_at_limit(temporal.client, "lane")).hold
    assert [held and held.by for held in overwritten] == [None if is_slow_before else "worker"]
    assert hold is not None
    assert (hold.by, hold.actor, hold.reason) == ("operator", "ada", "x")


async def test_a_pause_is_not_set_again_after_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "PAUSE_CHECKS", (0.0, 0.0))
    temporal = Temporal()
    temporal.after_update = lambda: release_lane(temporal.client, "lane", actor="bob", reason="resumed by bob")
    await hold_lane(temporal.client, "lane", PAUSE)
    assert (await look_at_limit(temporal.client, "lane")).hold is None


async def test_a_pause_holds_although_it_cannot_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "PAUSE_CHECKS", (0.0, 0.0))
    temporal = Temporal()

    async def refuse() -> None:
        temporal.refuses = RPCStatusCode.PERMISSION_DENIED

    temporal.after_update = refuse
    limit = await hold_lane(temporal.client, "lane", PAUSE)
    assert limit.hold is not None


async def end_by(reach: Reach) -> None:
    await reach.look()
    reach.reached(reach.began())
    await reach.look()


async def slow_down(reach: Reach) -> None:
    await reach.look()
    for _ in range(MOST_MISSES):
        reach.missed(reach.began())
    await reach.look()


async def is_slow(temporal: Temporal) -> bool:
    hold = (await look_at_lane(temporal.client, "lane")).hold
    return hold is not None and hold.by == "worker"
