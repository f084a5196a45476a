"""The worker: runs workflows and activities until it is cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.builds import NO_BUILD, Build
from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.decoding import GuardedRunner
from activities.http import http_client
from activities.settings import Settings
from activities.store.calls import Calls
from workflows.pipeline import PipelineWorkflow

WORKFLOWS: Final[Sequence[type]] = (PipelineWorkflow,)
"""The workflow classes that the worker runs. Add your own class here."""

GRACE: Final = timedelta(seconds=20)
"""Time for calls in flight to finish after SIGTERM. If they were cut off, the partner would be called twice."""

STICKY_TIMEOUT: Final = timedelta(seconds=1)
"""Time that a run waits for the worker that caches it, before another worker may take it. With the default of 10 s,
callbacks would stall for 10 s after a worker was killed."""


def workflow_runner() -> SandboxedWorkflowRunner:
    """Return the workflow sandbox, for workers and for history replays.

    The contract passes through the sandbox: the converter and the activities would not recognize a second copy of its
    classes.
    """
    # `nesting` checks every value of up to megabytes of data: in the sandbox each `isinstance` costs microseconds.
    outside = ("workflows.contract", "workflows.nesting")
    return GuardedRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*outside))


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


class WorkerRefused(Exception):
    """The worker could not start: Temporal became unreachable meanwhile, or the namespace is missing."""


async def run_worker(client: Client, settings: Settings) -> None:
    """Run until cancelled; calls in flight then have `GRACE` to finish. Raises `WorkerRefused`."""
    urls = CallbackURLs(settings.public_url, settings.callback_keys)
    table = Calls(settings.store.database) if settings.store else None
    async with http_client() as http:
        calls = PartnerCalls(http, urls, settings.partners, table)
        worker = build_worker(client, calls, task_queue=settings.task_queue, build=settings.build)
        try:
            await worker.run()
        except RuntimeError as error:
            # The bridge's only text if Temporal is unreachable or the namespace is missing when the worker starts.
            if "validation failed" not in str(error):
                raise
            raise WorkerRefused(str(error).partition(": Status")[0]) from error
