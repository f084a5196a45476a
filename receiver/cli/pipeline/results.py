"""Print the result of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from temporalio.converter import value_to_type

from activities.run_status import status_name
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import print_json, say
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.terminal import printable
from receiver.telling.moments import utc_text
from receiver.telling.stories import field_lines
from workflows.contract import Outcome, PipelineResult

ENDS: Final = {"canceled": "was cancelled", "terminated": "was terminated", "timed_out": "timed out"}
"""How a run ended, in words, where that differs from its status."""


async def print_result(workflow_id: str, *, wait: bool, as_json: bool) -> None:
    """Print the result of a completed run. wait: wait for the run's end, without a time limit.

    Raises `CommandError` for a run that is running, or ended otherwise; `RunNotFound`.
    """
    runs = await connect_runs()
    if not wait and status_name((await runs.describe(workflow_id)).status) == "running":
        what = f"the run {workflow_id} is still running, so it has no result yet"
        raise CommandError(what, "wait for it with --wait, or look at it with `stagehook pipeline show`")
    status, result, why = await runs.end(runs.client.get_workflow_handle(workflow_id))
    if status != "completed":
        advice = "`stagehook pipeline show` tells each stage's story; `stagehook pipeline resume` goes on from a stage"
        what = f"the run {workflow_id} has no result, because it {ENDS.get(status, status)}: {why}"
        raise CommandError(what, advice, Exit.RUN_FAILED)
    if as_json:
        print_json(result)
        return
    for line in result_lines(workflow_id, result):
        say(printable(line))


def result_lines(workflow_id: str, result: Any) -> Iterator[str]:
    """Yield the result for people: a line for each stage, and below it a line for each field of its data."""
    try:
        known: PipelineResult = value_to_type(PipelineResult, result)
    except Exception:  # a class of one's own may return anything
        yield f"{workflow_id} completed: {json.dumps(result, ensure_ascii=False)}"
        return
    yield f"{known.pipeline} {workflow_id} completed"
    # JSON does not keep the order of the stages.
    for name, outcome in sorted(known.outcomes.items(), key=lambda item: item[1].at):
        yield from _outcome_lines(name, outcome)


def _outcome_lines(name: str, outcome: Outcome) -> Iterator[str]:
    said = "".join(f": {part}" for part in (outcome.code, outcome.message) if part)
    yield f"{name}: {outcome.status} ({outcome.cause}), {utc_text(outcome.at)} UTC{said}"
    yield from (f"  {line}" for line in field_lines(outcome.data))
