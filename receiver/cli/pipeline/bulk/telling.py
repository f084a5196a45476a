"""What a bulk command prints: its plan, the runs on which it did not act, and the numbers at the end."""

from __future__ import annotations

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from activities.choosing import SILENT, ChosenRun
from receiver.cli.durations import read_duration
from receiver.cli.errors import Exit
from receiver.cli.output import counted, note, print_json
from receiver.cli.pipeline.bulk import STAGE_ACTIONS
from receiver.cli.pipeline.bulk.planning import BulkPlan
from receiver.cli.pipeline.bulk.state import FINAL, BulkItem, BulkResult
from receiver.cli.terminal import printable
from receiver.telling.moments import utc_text
from workflows.durations import describe

FIRST_RUNS: Final = 10
MOST_KINDS: Final = 20
"""Lines of the plan for single runs, and for kinds of stages."""


def what_is_done(plan: BulkPlan) -> str:
    """The action and its size, such as `extend by 2 hours: 40 stages of 40 runs`."""
    request = plan.request
    runs = counted(len({item.run.run_id for item in plan.items}), "run")
    what = f"{request.action} by {describe(read_duration(request.duration))}" if request.duration else request.action
    if request.stage:
        what = f"{what} from stage {request.stage}"
    size = f"{counted(plan.items, 'stage')} of {runs}" if request.action in STAGE_ACTIONS else runs
    return f"{what}: {size}"


def tell_plan(plan: BulkPlan, *, as_json: bool) -> None:
    """Print the plan for people; as_json: print each listed run for programs as well."""
    for line in _plan_lines(plan):
        note(printable(line))
    if as_json:
        for item in plan.items:
            print_json(asdict(item), indent=None)


def _plan_lines(plan: BulkPlan) -> Iterator[str]:
    request = plan.request
    yield f"{what_is_done(plan)}, in {plan.target}"
    if plan.target.address != request.address:
        yield f"  it was begun with Temporal at {request.address}"
    yield f"  reason: {request.reason}, by {request.actor}"
    kinds = Counter(_kind(item.run) for item in plan.items)
    for kind, count in kinds.most_common(MOST_KINDS):
        yield f"  {count:5}  {kind}"
    if len(kinds) > MOST_KINDS:
        yield f"         and {counted(len(kinds) - MOST_KINDS, 'other kind')}"
    yield "the first of them:" if len(plan.items) > FIRST_RUNS else "these are:"
    for item in plan.items[:FIRST_RUNS]:
        yield f"  {item.run.workflow_id}{_stages(item.run)}"
    if len(plan.items) > FIRST_RUNS:
        yield f"  and {len(plan.items) - FIRST_RUNS} more"
    yield from _left_out(plan)


def _left_out(plan: BulkPlan) -> Iterator[str]:
    for why, count in plan.left_out.items():
        yield f"left out: {counted(count, 'run')}, {why}"
    if SILENT in plan.left_out:
        yield "  try: start a worker of the version that began them, or look at one with `stagehook pipeline show`"
    looked_at = len({item.run.run_id for item in plan.items}) + sum(plan.left_out.values())
    if looked_at < plan.total:
        yield f"these are of the latest {looked_at} of {plan.total} runs: --limit takes more"
    if plan.failures_cut:
        yield "the latest failures were read, and there are more: name a later --since for the others"


def _kind(run: ChosenRun) -> str:
    stages = (f", stage {f'{one.number} {one.name}'.rstrip()}, partner {one.partner or 'none'}" for one in run.stages)
    return f"{run.pipeline or 'a pipeline without a name'}{''.join(stages) or f', {run.status}'}"


def _stages(run: ChosenRun) -> str:
    found = []
    for one in run.stages:
        until = f" until {utc_text(one.deadline)} UTC" if one.deadline else ""
        state = one.state.replace("_", " ")
        found.append(f"stage {f'{one.number} {one.name}'.rstrip()}: {state}, call {one.attempt}{until}")
    return f", {'; '.join(found)}" if found else f", {run.status}"


class Report:
    """Collects the results, prints those that are not done, and at the end their numbers."""

    def __init__(self, plan: BulkPlan, file: Path, *, as_json: bool) -> None:
        self._plan = plan
        self._file = file
        self._as_json = as_json
        self._words = Counter[str]()
        self._causes: dict[tuple[str, str], list[str]] = {}

    def add(self, item: BulkItem, result: BulkResult) -> None:
        """Count the result. Prints it for programs, or for people if the run was not acted on."""
        self._words[result.result] += 1
        said = f"{item.run.workflow_id}: {result.why}"
        self._causes.setdefault((result.result, result.cause), []).append(said)
        if self._as_json:
            named = {"workflow_id": item.run.workflow_id, "stages": [one.number for one in item.run.stages]}
            with contextlib.suppress(BrokenPipeError):  # what a reader such as `head` does not want is still to be done
                print_json({**asdict(result), **named}, indent=None)
        elif result.result != "done":
            note(printable(f"{result.result}: {said}"))

    def tell_end(self) -> None:
        """Print how many of each result there are, why, and how to go on."""
        counts = [f"{count} {word}" for word, count in self._words.items()]
        if never := len(self._plan.items) - self._words.total():
            counts.append(f"{never} not begun")
        note(", ".join(counts) or "nothing was done")
        for (word, cause), all_ in self._causes.items():
            if word != "done":
                note(printable(f"  {word}: {len(all_)}, {cause}, such as {all_[0]}"))
        if self._left:
            command = f"stagehook pipeline bulk {self._plan.request.action} --resume {shlex.quote(str(self._file))}"
            note(printable(f"{self._left} left: go on with `{command}`"))

    def exit_code(self, *, is_interrupted: bool) -> Exit:
        """The exit code of the command."""
        if is_interrupted and self._left:
            return Exit.INTERRUPTED
        if self._words["failed"]:
            return Exit.FAILED
        if self._words["unreached"] or self._words.total() < len(self._plan.items):
            return Exit.UNREACHABLE
        return Exit.UNSURE if self._words["unsure"] else Exit.OK

    @property
    def _left(self) -> int:
        return len(self._plan.items) - sum(self._words[word] for word in FINAL)
