"""Is this run's definition sound? Asked by the client before it starts a run, and by the run itself.

A run can be started by any client in any language, so the workflow cannot trust that the client asked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from temporalio.converter import value_to_type

from workflows.contract import OnTimeout, Pipeline, PipelineRun, Stage

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LONGEST_SECONDS = 366 * 24 * 3600.0
SHORTEST_SECONDS = 0.01
MOST_STAGES = 50
"""Fifty outcomes of the largest size still fit into one workflow result, which Temporal limits to 2 MiB."""

LARGEST_INPUT = 256 * 1024
MOST_FAULTS = 20
LONGEST_FAULT = 300


class InvalidRun(Exception):
    """A run that cannot be executed. `faults` lists what is wrong, a sentence each."""

    def __init__(self, faults: Sequence[str]) -> None:
        # Bounded, and free of surrogates: a failure that Temporal cannot take would block the run instead of ending it.
        self.faults = [_plain(fault) for fault in faults[:MOST_FAULTS]]
        if len(faults) > MOST_FAULTS:
            self.faults.append(f"and {len(faults) - MOST_FAULTS} more")
        super().__init__("; ".join(self.faults))


def read_run(args: Sequence[Any]) -> PipelineRun:
    """Read a workflow's arguments, as decoded from JSON, into a checked `PipelineRun`; raise `InvalidRun`."""
    if len(args) != 1:
        raise InvalidRun([f"a run takes one argument, a PipelineRun, not {len(args)}"])
    match args[0]:
        case {"pipeline": {"stages": [*stages]}} if len(stages) > MOST_STAGES:
            # Before they are converted: thousands would take longer than a workflow task may.
            raise InvalidRun([f"stages: a pipeline has 1 to {MOST_STAGES}, not {len(stages)}"])
    try:
        run: PipelineRun = value_to_type(PipelineRun, args[0])
    except Exception as error:
        # The converter promises TypeError, and raises what constructors raise besides (OverflowError for 1e400).
        raise InvalidRun([f"the argument is no PipelineRun: {_innermost(error)}"]) from error
    check_run(run)
    return run


def check_run(run: PipelineRun) -> None:
    """Raise `InvalidRun` with everything that is wrong with the definition, or missing from the input."""
    if faults := [*pipeline_faults(run.pipeline), *_input_faults(run)]:
        raise InvalidRun(faults)


def pipeline_faults(pipeline: Pipeline) -> Iterator[str]:
    """Everything that is wrong with a definition, a sentence each; nothing if it is sound."""
    if not NAME.fullmatch(pipeline.name):
        yield f"pipeline name {pipeline.name!r}: use lower-case words joined by hyphens"
    if not 1 <= len(pipeline.stages) <= MOST_STAGES:
        yield f"stages: a pipeline has 1 to {MOST_STAGES}, not {len(pipeline.stages)}"
    earlier: set[str] = set()
    for position, stage in enumerate(pipeline.stages, start=1):
        for fault in _stage_faults(stage, position, earlier):
            yield f"stage {position}: {fault}"
        earlier.add(stage.name)


def _stage_faults(stage: Stage, position: int, earlier: set[str]) -> Iterator[str]:
    if stage.number != position:
        yield f"number is {stage.number}: stages are numbered from 1 in their order"
    if not NAME.fullmatch(stage.name) or stage.name == "input":
        yield f"name {stage.name!r}: use lower-case words joined by hyphens, not `input`"
    if stage.name in earlier:
        yield f"name {stage.name!r} is taken by an earlier stage"
    if not NAME.fullmatch(stage.partner):
        yield f"partner {stage.partner!r}: use lower-case words joined by hyphens"
    yield from _time_faults(stage)
    if stage.on_timeout not in get_args(OnTimeout):
        yield f"on_timeout is {stage.on_timeout!r}: use {', '.join(get_args(OnTimeout))}"
    elif stage.on_timeout == "retry" and not 2 <= stage.attempts <= 100:
        yield f"attempts is {stage.attempts}: `retry` makes 2 to 100 calls"
    elif stage.on_timeout != "retry" and stage.attempts != 1:
        yield f"attempts is {stage.attempts}: only on_timeout `retry` calls more than once"
    for wanted, source in stage.needs.items():
        origin, _, part = source.partition(".")
        if not part or (origin != "input" and origin not in earlier):
            yield f"needs {wanted}: {source!r} is neither input.FIELD nor EARLIER-STAGE.FIELD"


def _time_faults(stage: Stage) -> Iterator[str]:
    for field in ("timeout", "call_timeout", "call_within"):
        if not SHORTEST_SECONDS <= getattr(stage, field) <= LONGEST_SECONDS:
            yield f"{field} is {getattr(stage, field)}: use seconds, {SHORTEST_SECONDS:g} or more and at most a year"
    if not 0 <= stage.longest_wait <= LONGEST_SECONDS or math.isnan(stage.longest_wait):
        yield f"longest_wait is {stage.longest_wait}: use seconds, 0 for ten timeouts and at most a year"


def _input_faults(run: PipelineRun) -> Iterator[str]:
    if len(json.dumps(run.input)) > LARGEST_INPUT:
        yield f"input is larger than {LARGEST_INPUT} bytes"
    for stage in run.pipeline.stages:
        for source in stage.needs.values():
            origin, _, part = source.partition(".")
            if origin == "input" and part not in run.input:
                yield f"input.{part} is missing: stage {stage.number} {stage.name} needs it"


def _plain(fault: str) -> str:
    return fault[:LONGEST_FAULT].encode("utf-8", "backslashreplace").decode()


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
