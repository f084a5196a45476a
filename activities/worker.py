"""The worker: runs workflows and activities until it is cancelled."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from activities.builds import NO_BUILD, Build
from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.client import TemporalUnreachable
from activities.decoding import GuardedRunner
from activities.http import http_client
from activities.settings import Settings
from activities.store.call_notes import CallNotes
from activities.store.calls import Calls
from activities.target import Target
from activities.tls_probe import explain
from activities.wait_order import keep_wait_order
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
        "mailbox",
        "nesting",
        "onboarding",
        "other_runs",
        "pipeline",
        "pipelines",
        "policies",
        "reading",
        "scheduling",
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
    return GuardedRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*AUDITED),
        audited=AUDITED,
    )


def build_worker(
    client: Client,
    calls: PartnerCalls,
    *,
    task_queue: str,
    workflows: Sequence[type] = WORKFLOWS,
    build: Build = NO_BUILD,
) -> Worker:
    """Return a worker with these parts; `async with` runs it."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=workflows,
        activities=[calls.call_partner, calls.ask_partner],
        workflow_runner=workflow_runner(),
        graceful_shutdown_timeout=GRACE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        deployment_config=build.deployment(task_queue),
    )


async def run_worker(client: Client, settings: Settings) -> None:
    """Run until cancelled; calls in flight then have `GRACE` to finish.

    Raises `TemporalUnreachable` before it has begun to poll, and `WorkerStopped` if Temporal refuses it later.
    """
    urls = CallbackURLs(settings.public_url, settings.callback_keys)
    table = Calls(settings.store.database) if settings.store else None
    notes = CallNotes(table) if table else None
    async with http_client() as http, notes.running() if notes else contextlib.nullcontext():
        calls = PartnerCalls(http, urls, settings.partners, table, notes)
        worker = build_worker(client, calls, task_queue=settings.task_queue, build=settings.build)
        await _run(worker, Target.of_client(client))


class WorkerStopped(TemporalUnreachable):
    """Temporal has refused a worker that had been running: its key has expired, say."""


async def _run(worker: Worker, target: Target) -> None:
    try:
        await worker.run()
    except RuntimeError as error:
        # The SDK says no more than that a part of the worker failed; why is in the error's causes.
        fault = await explain(error, target)
        if fault is None:
            raise
        refused = TemporalUnreachable if NEVER_BEGAN in str(error) else WorkerStopped
        raise refused(fault.sentence(target), fault) from error
