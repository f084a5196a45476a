"""Start a run, and wait for its end."""

from __future__ import annotations

import os
from dataclasses import dataclass

from activities.environment import Environment
from activities.partners.partner import SHORTER_URL
from activities.public_url import stated_public_url
from activities.runs import new_run_id
from activities.settings import DEFAULT_TASK_QUEUE, read_token_version
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note, read_json_object
from receiver.cli.partner.settings import partner_from_environment
from receiver.cli.pipeline.runs import connect_runs, print_as
from receiver.cli.pipeline.urls import too_long_urls
from workflows.contract import Pipeline, for_older_workers
from workflows.pipelines import PIPELINES, WORKFLOW_TYPES


@dataclass(frozen=True)
class StartOptions:
    """How a run is started.

    again: also if a run with this id has completed.
    for_older_workers: so that workers of the version before can run it.
    """

    again: bool = False
    for_older_workers: bool = False


async def start_run(
    name: str, workflow_id: str, given: str, options: StartOptions, *, wait: bool, as_json: bool
) -> int:
    """Start a run of the pipeline; with `wait`, RUN_FAILED if it did not complete. given: the input, as typed."""
    definition = PIPELINES.get(name)
    if definition is None:
        raise CommandError(f"no pipeline is named {name}", f"use one of {', '.join(PIPELINES)}", Exit.NOT_FOUND)
    if options.for_older_workers:
        definition = for_older_workers(definition)
    data = read_json_object("--input", given)
    task_queue = os.environ.get("TASK_QUEUE", "").strip() or DEFAULT_TASK_QUEUE
    env = Environment(os.environ)
    token_version = 1 if options.for_older_workers else read_token_version(env)
    env.check()
    workflow_id = workflow_id or new_run_id(definition)
    _check_urls(definition, workflow_id, token_version)
    runs = await connect_runs()
    handle = await runs.start(
        definition,
        data,
        task_queue=task_queue,
        workflow_id=workflow_id,
        again=options.again,
        workflow_type=WORKFLOW_TYPES[name],
        findable=not options.for_older_workers,
        token_version=token_version,
    )
    started = {"pipeline": name, "workflow_id": handle.id, "run_id": handle.first_execution_run_id}
    if not wait:
        print_as(started, handle.id, as_json=as_json)
        return Exit.OK
    note(f"started {handle.id}")
    status, result, error = await runs.end(handle)
    ended = {**started, "status": status, "error": error, "outcomes": result.outcomes if result else {}}
    print_as(ended, f"{handle.id} {status}" + (f": {error}" if error else ""), as_json=as_json)
    return Exit.OK if status == "completed" else Exit.RUN_FAILED


def _check_urls(definition: Pipeline, workflow_id: str, token_version: int) -> None:
    """Raise `CommandError` if a partner that this environment knows does not take the run's callback URLs.

    Without PUBLIC_URL here, only the worker can know their length; it refuses such a call.
    """
    if not (address := stated_public_url(Environment(os.environ))):
        return
    flaws = too_long_urls(
        definition,
        lambda name: partner_from_environment(name, to_sign=False),
        public_url=address.url,
        workflow_id=workflow_id,
        token_version=token_version,
    )
    if flaw := "; ".join(flaws):
        raise CommandError(flaw, SHORTER_URL, Exit.USAGE)
