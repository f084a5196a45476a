"""The worker: runs workflows and activities until it is told to stop."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.decoding import GuardedRunner
from activities.http import http_client
from activities.settings import Settings
from workflows.pipeline import PipelineWorkflow

WORKFLOWS: Final[Sequence[type]] = (PipelineWorkflow,)
"""Every workflow class that is run. Add a class of your own here."""

GRACE: Final = timedelta(seconds=20)
"""How long calls in flight may finish after SIGTERM: without it they are cut off, and the partner is called twice."""

STICKY_TIMEOUT: Final = timedelta(seconds=1)
"""How long a run waits for the worker that has it cached before any other may take it. The default of 10 s is how long
callbacks stall after a worker was killed."""


def workflow_runner() -> SandboxedWorkflowRunner:
    """The sandbox, for the worker and for replaying histories alike.

    The contract passes through: a second copy of its classes inside the sandbox would not be the classes that the
    converter and the activities know.
    """
    # `nesting` looks at every value of what may be megabytes: in the sandbox each `isinstance` costs microseconds.
    outside = ("workflows.contract", "workflows.nesting")
    return GuardedRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*outside))


def build_worker(
    client: Client, calls: PartnerCalls, *, task_queue: str, workflows: Sequence[type] = WORKFLOWS
) -> Worker:
    """A worker on these parts; `async with` runs it."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=workflows,
        activities=[calls.call_partner, calls.ask_partner],
        workflow_runner=workflow_runner(),
        graceful_shutdown_timeout=GRACE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
    )


class WorkerRefused(Exception):
    """The worker could not begin: Temporal went away meanwhile, or has no such namespace."""


async def run_worker(client: Client, settings: Settings) -> None:
    """Run until cancelled; calls in flight get `GRACE` to finish. Raises `WorkerRefused`."""
    urls = CallbackURLs(settings.public_url, settings.callback_keys)
    async with http_client() as http:
        worker = build_worker(client, PartnerCalls(http, urls, settings.partners), task_queue=settings.task_queue)
        try:
            await worker.run()
        except RuntimeError as error:
            # All that the bridge says when Temporal is gone, or lacks the namespace, while the worker begins.
            if "validation failed" not in str(error):
                raise
            raise WorkerRefused(str(error).partition(": Status")[0]) from error
