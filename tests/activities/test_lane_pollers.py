"""A lane is served while a worker asks for its calls. Temporal forgets a worker that has ended after minutes only."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkflowExecutionResponse,
)
from temporalio.client import Client

from activities.lanes import POLLS_WITHIN, held_lanes, look_at_lane


def temporal(*seconds_ago: float) -> Client:
    """A Temporal that knows pollers by the time since they last asked."""
    found = DescribeTaskQueueResponse()
    for seconds in seconds_ago:
        poller = PollerInfo()
        poller.last_access_time.FromSeconds(int(time.time() - seconds))
        found.pollers.append(poller)

    async def describe(request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        return found

    service: Any = SimpleNamespace(describe_task_queue=describe)
    return cast(Client, SimpleNamespace(namespace="default", workflow_service=service))


@pytest.mark.parametrize(
    ("seconds_ago", "is_served"), [((), False), ((4 * POLLS_WITHIN,), False), ((4 * POLLS_WITHIN, 0.0), True)]
)
async def test_a_lane_is_served_while_a_worker_asks(seconds_ago: tuple[float, ...], *, is_served: bool) -> None:
    assert (await look_at_lane(temporal(*seconds_ago), "lane")).served is is_served


async def test_only_a_call_that_has_not_begun_waits_for_its_lane() -> None:
    described: Any = SimpleNamespace(task_queue="main", raw_description=DescribeWorkflowExecutionResponse())
    for lane, state in (
        ("main.bank", PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED),
        ("main.cards", PendingActivityState.PENDING_ACTIVITY_STATE_STARTED),
        ("main", PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED),
    ):
        pending = described.raw_description.pending_activities.add(state=state)
        pending.activity_options.task_queue.name = lane
    assert [lane.task_queue async for lane in held_lanes(temporal(), described)] == ["main.bank"]
