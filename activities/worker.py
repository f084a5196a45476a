"""The worker: runs workflows and activities until it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from activities.annotations import resolve_annotations
from activities.builds import NO_BUILD, Build
from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.client import TemporalUnreachable
from activities.decoding import GuardedRunner
from activities.http import http_client
from activities.lanes import has_lane
from activities.partners.partner import Partner
from activities.reach import Reach
from activities.settings import Settings
from activities.signal_senders import SignalSenders
from activities.store.call_notes import CallNotes
from activities.store.calls import Calls
from activities.target import Target
from activities.tls_probe import explain
from activities.wait_order import keep_wait_order
from workflows.lanes import ask_lane, call_lane
from workflows.onboarding import ReviewedOnboarding
from workflows.pipeline import PipelineWorkflow

WORKFLOWS: Final[Sequence[type]] = (PipelineWorkflow, ReviewedOnboarding)
"""The workflow classes that the worker runs. Add your own class here."""

GRACE: Final = timedelta(seconds=20)
"""Time for calls in flight to finish after SIGTERM. If they were cut off, the partner would be called twice."""

STICKY_TIMEOUT: Final = timedelta(seconds=1)
"""Time that a run waits for the worker that caches it, before another worker may take it. With the default of 10 s,
callbacks would stall for 10 s after a worker was killed."""

NEVER_BEGAN: Final = "validation failed"
"""In the SDK's error if Temporal is unreachable, or refuses the worker or its namespace, when the worker starts."""


AUDITED: Final = frozenset(
    f"workflows.{module}"
    for module in (
        "beginning",
        "checking",
        "commands",
        "contract",
        "definition",
        "durations",
        "failures",
        "finding",
        "lanes",
        "mailbox",
        "nesting",
        "onboarding",
        "other_runs",
        "pipeline",
        "pipelines",
        "policies",
        "reading",
        "scheduling",
        "settlements",
        "stage_record",
        "stage_run",
        "staged",
        "views",
    )
)
"""Our own workflow modules. Their code is not sandboxed; `tests/workflows/test_determinism.py` audits it instead."""


def workflow_runner() -> GuardedRunner:
    """Return the runner of workflows, for workers and for history replays: a sandbox for classes of your own."""
    # Audited code runs outside the sandbox, because the sandbox doubles a worker's CPU for each run: it imports every
    # module again for each execution, and wraps each `isinstance`. `make bench` measures it. The sandbox is to catch
    # code that a replay would not repeat, and the audit finds such code before it is deployed.
    # A class of your own runs in the sandbox, and shares the audited modules, because they hold no state. It must share
    # the contract: the converter and the activities would not recognize a second copy of its classes.
    keep_wait_order()
    resolve_annotations()
    return GuardedRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*AUDITED),
        audited=AUDITED,
    )


MAIN_CONNECTIONS: Final = 100
"""Maximum number of connections for the calls of the main queue."""

ASKS_AT_ONCE: Final = 20
"""Maximum number of questions that a worker process asks a partner at the same time."""

LANE_POLLS: Final = 1
"""Requests for tasks that a lane has open at the same time, instead of 5. All lanes share one HTTP/2 connection, and a
proxy may allow 100 requests at the same time: 30 partners take 60."""

RATED_POLLS: Final = 5
"""The same for the calls of a partner with `calls_per_second`. Each of a queue's partitions, 4 by default, has its own
share of the rate. One request waits at one partition, and the shares of the others are lost."""


@dataclass(frozen=True)
class Lane:
    """A partner with its own part of the worker. calls: makes its calls, with a connection pool of its own."""

    partner: Partner
    calls: PartnerCalls


class LanedWorker:
    """The workers of a process: that of the main queue, and for each lane a worker for calls and for questions."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    async def run(self) -> None:
        """Run until cancelled; calls in flight then have `GRACE` to finish. Raises what the first worker raises."""
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(worker.run())
        except ExceptionGroup as errors:
            raise errors.exceptions[0]  # noqa: B904 - it keeps its own cause, which tells what is wrong

    async def __aenter__(self) -> Self:
        for worker in self._workers:
            await worker.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await asyncio.gather(*(worker.__aexit__(*exc) for worker in self._workers))


def build_worker(
    client: Client,
    calls: PartnerCalls,
    *,
    task_queue: str,
    lanes: Sequence[Lane] | None = None,
    workflows: Sequence[type] = WORKFLOWS,
    build: Build = NO_BUILD,
) -> LanedWorker:
    """Return a worker with these parts; `async with` runs it.

    calls: makes the calls on the main queue: those scheduled before lanes, and those to partners without a lane.
    lanes: by default the lane of each partner of `calls` that has one, all with its connection pool.
    """
    if lanes is None:
        lanes = [Lane(partner, calls) for partner in calls.partners.values() if has_lane(partner.name)]
    shared: dict[str, Any] = {
        "graceful_shutdown_timeout": GRACE,
        "deployment_config": build.deployment(task_queue),
    }
    workers = [
        Worker(
            client,
            task_queue=task_queue,
            workflows=workflows,
            activities=[calls.call_partner, calls.ask_partner],
            workflow_runner=workflow_runner(),
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            interceptors=[SignalSenders()],
            **shared,
        )
    ]
    for lane in lanes:
        partner = lane.partner
        workers += [
            Worker(
                client,
                task_queue=call_lane(task_queue, partner.name),
                activities=[lane.calls.call_partner],
                max_concurrent_activities=partner.calls_at_once,
                max_concurrent_activity_task_polls=RATED_POLLS if partner.calls_per_second else LANE_POLLS,
                max_task_queue_activities_per_second=partner.calls_per_second or None,
                **shared,
            ),
            Worker(
                client,
                task_queue=ask_lane(task_queue, partner.name),
                activities=[lane.calls.ask_partner],
                max_concurrent_activities=ASKS_AT_ONCE,
                max_concurrent_activity_task_polls=LANE_POLLS,
                **shared,
            ),
        ]
    return LanedWorker(workers)


async def run_worker(client: Client, settings: Settings) -> None:
    """Run until cancelled; calls in flight then have `GRACE` to finish.

    Raises `TemporalUnreachable` before it has begun to poll, and `WorkerStopped` if Temporal refuses it later.
    """
    urls = CallbackURLs(settings.public_url, settings.callback_keys)
    table = Calls(settings.store.database) if settings.store else None
    notes = CallNotes(table) if table else None
    async with contextlib.AsyncExitStack() as stack:

        async def calls_of(
            partners: Mapping[str, Partner], connections: int, reach: Reach | None = None
        ) -> PartnerCalls:
            http = await stack.enter_async_context(http_client(connections))
            return PartnerCalls(http, urls, partners, table, notes, reach)

        async def lane_of(partner: Partner) -> Lane:
            reach = Reach(client, call_lane(settings.task_queue, partner.name), partner.calls_per_second)
            await stack.enter_async_context(reach.running())
            return Lane(partner, await calls_of({partner.name: partner}, partner.calls_at_once + ASKS_AT_ONCE, reach))

        if notes:
            await stack.enter_async_context(notes.running())
        lanes = [await lane_of(partner) for partner in settings.partners.values() if has_lane(partner.name)]
        worker = build_worker(
            client,
            await calls_of(settings.partners, MAIN_CONNECTIONS),
            task_queue=settings.task_queue,
            lanes=lanes,
            build=settings.build,
        )
        await _run(worker, Target.of_client(client))


class WorkerStopped(TemporalUnreachable):
    """Temporal has refused a worker that had been running: its key has expired, say."""


async def _run(worker: LanedWorker, target: Target) -> None:
    try:
        await worker.run()
    except RuntimeError as error:
        # The SDK says no more than that a part of the worker failed; why is in the error's causes.
        fault = await explain(error, target)
        if fault is None:
            raise
        refused = TemporalUnreachable if NEVER_BEGAN in str(error) else WorkerStopped
        raise refused(fault.sentence(target), fault) from error
