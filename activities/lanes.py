"""A partner's lane as Temporal knows it: whether a worker serves it, and what holds its calls.

What holds calls is the rate of the lane's task queue, which Temporal keeps for all workers together. Its reason is
JSON, so that every worker and operator can read who set it and when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from temporalio.api.enums.v1 import PendingActivityState, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueConfig
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    UpdateTaskQueueConfigRequest,
)
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from activities import strict_json
from activities.client import reaching_temporal
from activities.finding import runs_query
from activities.target import Target
from workflows.lanes import LANE_NAME, call_lane

POLLS_WITHIN: Final = 90.0
"""Seconds. A worker asks for tasks at least once a minute; Temporal forgets an ended worker only after five minutes."""

MOST_RUNS: Final = 500
"""Runs that `retried_calls` looks at."""

DESCRIBED_AT_ONCE: Final = 20
"""Runs that are looked at together. One after another, 500 would take too long where Temporal is far away."""

PARTITIONS: Final = 4
"""Of a task queue by Temporal's default. Each has an equal share of the queue's rate, and waits for its own share."""

SLOW_RATE: Final = 1 / 30
"""Calls a second to a partner that is not reached. With `PARTITIONS`, up to four calls begin together every 120 s."""

PAUSE_CHECKS: Final[Sequence[float]] = (0.0, 1.0)
"""Seconds before each look at whether a pause is still there."""

WORKER: Final = "worker"
"""Temporal's identity of a change that a worker makes by itself."""

MOST_REASON_BYTES: Final = 1_000
"""Bytes of UTF-8 that Temporal keeps as a rate's reason: of a hold, these are JSON with all of its fields."""

FARTHEST_END: Final = 1e15
"""Unix seconds. A later end of a pause, as another program may write it, is ignored."""

ACTIVITY: Final = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY

HeldBy = Literal["operator", "worker", "other"]


@dataclass(frozen=True)
class Hold:
    """Why a lane's calls are held.

    by: an operator's pause; a worker that did not reach the partner; or something other than Stagehook.
    reason: why. actor: who paused it. until: when the pause ends, in unix seconds; 0 for never by itself.
    since: when it was set, in unix seconds. rate: calls a second that still begin.
    """

    by: HeldBy
    reason: str
    actor: str = ""
    until: float = 0.0
    since: float = 0.0
    rate: float = 0.0

    def is_over(self, now: float) -> bool:
        """Whether its end has passed."""
        return 0 < self.until <= now


@dataclass(frozen=True)
class Limit:
    """The rate of a lane's task queue.

    changed: tells this setting from earlier and later ones, 0 for a rate that was never set. It is a time of Temporal's
    clock: compare it with no other clock. hold: what holds the lane's calls, or None. reason: why it was set.
    actor: who set it, or `WORKER`.
    """

    changed: float
    hold: Hold | None
    reason: str = ""
    actor: str = ""


@dataclass(frozen=True)
class LaneState:
    """What Temporal says of a lane.

    served: whether a worker asked for its calls within `POLLS_WITHIN`. hold: what holds its calls, or None.
    """

    task_queue: str
    served: bool
    hold: Hold | None


class LaneRefused(Exception):
    """Temporal has answered a request about a lane with an error."""


class LanesUnsupported(LaneRefused):
    """Temporal has no method to look at task queues or to hold them."""


class InvalidReason(ValueError):
    """Temporal cannot keep this reason with a lane. The message is a sentence for the operator."""


class NoLane(Exception):
    """The partner has no lane: its calls are on the main queue, with those of other partners."""


def has_lane(partner: str) -> bool:
    """Whether the partner's name can be in the name of a task queue; otherwise its calls are on the main queue."""
    return LANE_NAME.fullmatch(partner) is not None


def lane_to_hold(task_queue: str, partner: str) -> str:
    """The task queue of the partner's calls; raises `NoLane`, because a hold of the main queue holds other calls."""
    if not has_lane(partner):
        raise NoLane(f"calls to {partner!r} cannot be paused: its name cannot be that of a lane")
    return call_lane(task_queue, partner)


@asynccontextmanager
async def reaching_lanes(client: Client) -> AsyncIterator[None]:
    """Turn an error of Temporal into `LaneRefused`, and signs that it is unreachable into `TemporalUnreachable`."""
    target = Target.of_client(client)
    try:
        async with reaching_temporal(target):
            yield
    except RPCError as error:
        if error.status is RPCStatusCode.UNIMPLEMENTED:
            raise LanesUnsupported(f"{target}: this server cannot hold task queues") from error
        raise LaneRefused(f"{target}: {error.status.name}: {error.message}") from error


async def look_at_lane(client: Client, task_queue: str) -> LaneState:
    """Ask Temporal for the state of a lane's task queue; raises `RPCError`."""
    found = await _describe(client, task_queue)
    oldest = time.time() - POLLS_WITHIN
    return LaneState(
        task_queue=task_queue,
        served=any(poller.last_access_time.ToSeconds() >= oldest for poller in found.pollers),
        hold=_limit_of(found.config).hold,
    )


async def look_at_limit(client: Client, task_queue: str) -> Limit:
    """Ask Temporal for the rate of a lane's task queue; raises `RPCError`."""
    return _limit_of((await _describe(client, task_queue)).config)


async def hold_lane(client: Client, task_queue: str, hold: Hold) -> Limit:
    """Let Temporal begin at most `hold.rate` calls a second of this lane; raises `RPCError` and `InvalidReason`.

    An operator's pause is set again if a worker overwrites it within a second, see `PAUSE_CHECKS`.
    """
    limit = await _set_rate(client, task_queue, hold)
    if hold.by == "operator":
        with contextlib.suppress(RPCError):  # the pause is set, and only a look or its repetition fails
            await _keep_pause(client, task_queue, hold)
    return limit


async def _keep_pause(client: Client, task_queue: str, hold: Hold) -> None:
    # Temporal sets a rate whatever it was before. Example: a worker looks at a free lane, an operator pauses it, and
    # the worker, which has not seen the pause, makes the lane slow.
    for seconds in PAUSE_CHECKS:
        await asyncio.sleep(seconds)
        if (await look_at_limit(client, task_queue)).actor == WORKER:
            await _set_rate(client, task_queue, hold)


async def _set_rate(client: Client, task_queue: str, hold: Hold) -> Limit:
    request = _update(client, task_queue, hold.actor or hold.by)
    request.update_queue_rate_limit.rate_limit.requests_per_second = hold.rate
    words = {"by": hold.by, "actor": hold.actor, "until": hold.until, "reason": hold.reason}
    request.update_queue_rate_limit.reason = _checked(json.dumps(words, ensure_ascii=False))
    return _limit_of((await client.workflow_service.update_task_queue_config(request)).config)


async def release_lane(client: Client, task_queue: str, *, actor: str, reason: str) -> Limit:
    """Let the lane's calls begin again, as fast as its workers allow; raises `RPCError` and `InvalidReason`."""
    request = _update(client, task_queue, actor)
    request.update_queue_rate_limit.SetInParent()
    request.update_queue_rate_limit.reason = _checked(reason)
    return _limit_of((await client.workflow_service.update_task_queue_config(request)).config)


async def retried_calls(client: Client, lane: str) -> tuple[int, bool]:
    """Count the lane's calls that wait for another try; raises `RPCError`.

    Returns the number, and whether there were more open runs than were looked at (`MOST_RUNS`).
    """
    open_runs = client.list_workflows(runs_query("ExecutionStatus = 'Running'"), limit=MOST_RUNS + 1)
    runs = [client.get_workflow_handle(run.id, run_id=run.run_id) async for run in open_runs]
    places = asyncio.Semaphore(DESCRIBED_AT_ONCE)

    async def count(run: WorkflowHandle[Any, Any]) -> int:
        try:
            async with places:
                described = await run.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:  # Temporal has deleted the run since it was listed
                return 0
            raise
        return sum(
            pending.attempt > 1 and pending.activity_options.task_queue.name == lane
            for pending in described.raw_description.pending_activities
        )

    return sum(await asyncio.gather(*map(count, runs[:MOST_RUNS]))), len(runs) > MOST_RUNS


def lane_partner(task_queue: str, lane: str) -> str:
    """The partner of a lane, for runs of this task queue."""
    return lane.removeprefix(f"{task_queue}.").removesuffix(".ask")


async def held_lanes(client: Client, described: WorkflowExecutionDescription) -> AsyncIterator[LaneState]:
    """Yield the state of each lane on which a call or a question of the run waits; raises `RPCError`."""
    queues = {
        pending.activity_options.task_queue.name
        for pending in described.raw_description.pending_activities
        if pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    }
    for queue in sorted(queues - {"", described.task_queue}):
        yield await look_at_lane(client, queue)


def _update(client: Client, task_queue: str, identity: str) -> UpdateTaskQueueConfigRequest:
    return UpdateTaskQueueConfigRequest(
        namespace=client.namespace, identity=identity, task_queue=task_queue, task_queue_type=ACTIVITY
    )


def _checked(reason: str) -> str:
    try:
        size = len(reason.encode())
    except UnicodeEncodeError as error:
        raise InvalidReason("the reason is not UTF-8: write it again") from error
    if size > MOST_REASON_BYTES:
        raise InvalidReason(f"the reason takes {size} bytes, and Temporal keeps {MOST_REASON_BYTES}: shorten it")
    return reason


async def _describe(client: Client, task_queue: str) -> DescribeTaskQueueResponse:
    return await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=ACTIVITY,
            report_config=True,
        )
    )


def _limit_of(config: TaskQueueConfig) -> Limit:
    limit = config.queue_rate_limit
    changed = limit.metadata.update_time.ToNanoseconds() / 1e9
    if not limit.HasField("rate_limit"):
        return Limit(changed, None, limit.metadata.reason, limit.metadata.update_identity)
    rate, words = limit.rate_limit.requests_per_second, _words(limit.metadata.reason)
    by: HeldBy = "other"
    if words.get("by") == "operator":
        by = "operator"
    elif words.get("by") == WORKER and rate > 0:
        by = "worker"
    reason, actor, until = words.get("reason"), words.get("actor"), words.get("until", 0.0)
    is_moment = isinstance(until, int | float) and not isinstance(until, bool) and 0 < until < FARTHEST_END
    hold = Hold(
        by=by,
        reason=reason if isinstance(reason, str) else limit.metadata.reason,
        actor=actor if isinstance(actor, str) else limit.metadata.update_identity,
        until=float(until) if is_moment else 0.0,
        since=changed,
        rate=rate,
    )
    return Limit(changed, hold, hold.reason, limit.metadata.update_identity)


def _words(reason: str) -> dict[str, Any]:
    """The words of a hold as Stagehook sets them; {} for another reason. Temporal keeps any text from any client."""
    try:
        words = strict_json.loads(reason.encode())
    except strict_json.NotStrictJSON:
        return {}
    return words if isinstance(words, dict) else {}
