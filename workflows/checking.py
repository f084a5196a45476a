"""Checks a run's definition and input, in the client before it starts a run, and in the run itself.

Any client in any language can start a run, so the workflow cannot rely on the client's check.

Every replay repeats the run's own check. A stricter check would block runs that have passed it, so `read_run` asks its
caller before it refuses input that earlier versions accepted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from typing import Any, Final, get_args

from temporalio.converter import value_to_type

from workflows.contract import CONTRACT, TOKEN_VERSIONS, Pipeline, PipelineRun, Policy, Stage
from workflows.durations import DAY
from workflows.nesting import MOST_LEVELS, is_deeper
from workflows.stage_record import SHORTEST_ASK_EVERY

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LONGEST_SECONDS = 366 * DAY
SHORTEST_SECONDS = 0.01
MOST_STAGES = 50
"""Fifty outcomes of the maximum size fit into one workflow result, which Temporal limits to 2 MiB."""

LARGEST_INPUT = 256 * 1024
LARGEST_DEFINITION: Final = 128 * 1024
"""Maximum bytes of a definition, as JSON. Calls and failures repeat its names and fields, and Temporal limits each call
or failure to 2 MiB."""

CARRIED_LEVELS: Final = 8
"""Levels of the argument around its deepest data, which is the data of an outcome carried by an earlier execution."""

MOST_FIELDS: Final = 1_000
"""Fields of a run, a pipeline or a stage whose names are looked at."""

MOST_UNKNOWN: Final = 5
"""Maximum number of unknown fields that are named per object."""

LONGEST_SHOWN_NAME: Final = 40
"""Characters shown and compared of an unknown field's name."""

ZERO_MEANS: Final = {
    "longest_wait": "ten timeouts",
    "retry_pause": "no pause",
    "escalate_within": "30 days",
    "ask_every": "asking at the deadline only",
}
"""What 0 seconds mean in a stage's optional times."""

EMPTY_VALUES: Final[Sequence[Any]] = (None, "", 0, [], {})
"""Empty values. `False` is included, because it equals 0."""
MOST_FAULTS = 20
LONGEST_FAULT = 300


class InvalidRun(Exception):
    """A run that cannot be executed. `faults` lists the faults, a sentence each."""

    def __init__(self, faults: Sequence[str]) -> None:
        # Faults are bounded and have no surrogates: if Temporal rejects a failure, the run blocks instead of ending.
        self.faults = [_short_fault(fault) for fault in faults[:MOST_FAULTS]]
        if len(faults) > MOST_FAULTS:
            self.faults.append(f"and {len(faults) - MOST_FAULTS} more")
        super().__init__("; ".join(self.faults))


class NewerContract(Exception):
    """A run whose definition needs a newer contract than this worker's: a newer worker can run it."""


def read_run(args: Sequence[Any], *, is_strict: Callable[[], bool] = lambda: True) -> PipelineRun:
    """Read a workflow's arguments, as decoded from JSON, into a checked `PipelineRun`.

    Raises `InvalidRun`; `NewerContract` instead, if the run states a newer contract than this worker's.

    args: an argument that cannot be decoded is passed as the decoding exception.
    is_strict: whether to refuse a run with unknown fields, too deep nesting or a too large definition; called only for
        such a run.
    """
    try:
        return _read_run(args, is_strict=is_strict)
    except InvalidRun as fault:
        match args:
            case [{"contract": int() as contract}] if contract > CONTRACT:
                what = f"the run needs contract {contract}, this worker has {CONTRACT}: start a newer worker ({fault})"
                raise NewerContract(what) from fault
        raise


def _read_run(args: Sequence[Any], *, is_strict: Callable[[], bool]) -> PipelineRun:
    if len(args) != 1:
        raise InvalidRun([f"a run takes one argument, a PipelineRun, not {len(args)}"])
    if isinstance(args[0], Exception):
        raise InvalidRun([f"the argument cannot be decoded ({_innermost(args[0])}): send a PipelineRun as JSON"])
    match args[0]:
        case {"pipeline": {"stages": [*stages]}} if len(stages) > MOST_STAGES:
            # Checked before conversion: converting thousands of stages would exceed the time of a workflow task.
            raise InvalidRun([f"stages: a pipeline has 1 to {MOST_STAGES}, not {len(stages)}"])
    # Measure the size last: a value that is nested too deeply cannot be measured.
    if (faults := list(_argument_faults(args[0])) or list(_size_faults(args[0]))) and is_strict():
        raise InvalidRun(faults)
    try:
        run: PipelineRun = value_to_type(PipelineRun, args[0])
    except Exception as error:
        # The converter documents TypeError, but also raises what constructors raise (OverflowError for 1e400).
        raise InvalidRun([f"the argument is not a PipelineRun: {_innermost(error)}"]) from error
    _check(run)
    return run


def check_run(run: PipelineRun) -> None:
    """Raise `InvalidRun` with every fault of the definition and every field missing from the input."""
    if faults := [*_nesting_faults(run.input), *_size_faults({"pipeline": asdict(run.pipeline)})]:
        raise InvalidRun(faults)
    _check(run)


def _check(run: PipelineRun) -> None:
    if faults := [*pipeline_faults(run.pipeline), *_input_faults(run)]:
        raise InvalidRun(faults)


def _argument_faults(argument: Any) -> Iterator[str]:
    """Faults of a run as it is written, which are invisible after the conversion."""
    match argument:
        case {"input": given} if is_deeper(given):
            yield from _nesting_faults(given)
        case _ if is_deeper(argument, MOST_LEVELS + CARRIED_LEVELS):
            yield f"the argument is nested more than {MOST_LEVELS + CARRIED_LEVELS} levels deep"
    yield from _unknown_fields("the run", argument, PipelineRun)
    match argument:
        case {"token_version": version} if version not in (0, *TOKEN_VERSIONS):
            yield f"token_version is {version!r}: use 1 or 2, or 0 for 1"
    match argument:
        case {"pipeline": {**pipeline}}:
            yield from _unknown_fields("the pipeline", pipeline, Pipeline)
            match pipeline:
                case {"stages": [*stages]}:
                    for position, stage in enumerate(stages, start=1):
                        yield from _unknown_fields(f"stage {position}", stage, Stage)


def _nesting_faults(given: Any) -> Iterator[str]:
    if is_deeper(given):
        yield f"input is nested more than {MOST_LEVELS} levels deep: send it flatter, or as text"


def _size_faults(argument: Any) -> Iterator[str]:
    match argument:
        case {"pipeline": definition} if len(json.dumps(definition)) > LARGEST_DEFINITION:
            yield f"the pipeline is larger than {LARGEST_DEFINITION} bytes: shorten its names and texts"


def _unknown_fields(what: str, written: Any, kind: type) -> Iterator[str]:
    if not isinstance(written, Mapping):
        return
    known = [field.name for field in fields(kind)]
    if len(written) > MOST_FIELDS:
        # Each name costs time, and a workflow task has two seconds.
        yield f"{what} has {len(written)} fields: use {', '.join(known)}"
        return
    # Ignoring an empty value loses nothing: a newer client may write fields that it does not use.
    unknown = [name for name, value in written.items() if name not in known and value not in EMPTY_VALUES]
    for name in unknown[:MOST_UNKNOWN]:
        yield f"unknown field {name[:LONGEST_SHOWN_NAME]!r} of {what}: {_suggestion(name, known)}"
    if len(unknown) > MOST_UNKNOWN:
        yield f"{len(unknown) - MOST_UNKNOWN} more unknown fields of {what}"


def _suggestion(name: str, known: Sequence[str]) -> str:
    meant = get_close_matches(name[:LONGEST_SHOWN_NAME], known, n=1)
    return f"did you mean {meant[0]}?" if meant else f"use {', '.join(known)}"


def pipeline_faults(pipeline: Pipeline) -> Iterator[str]:
    """Yield each fault of a definition as a sentence."""
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
    yield from _policy_faults(stage)
    for wanted, source in stage.needs.items():
        origin, _, part = source.partition(".")
        if not part or (origin != "input" and origin not in earlier):
            yield f"needs {wanted}: {source!r} is neither input.FIELD nor EARLIER-STAGE.FIELD"


def _policy_faults(stage: Stage) -> Iterator[str]:
    known = get_args(Policy)
    unknown = [
        f"{name} is {policy!r}: use {', '.join(known)}"
        for name, policy in (("on_timeout", stage.on_timeout), ("on_failure", stage.on_failure or "fail"))
        if policy not in known
    ]
    yield from unknown
    if not unknown and "retry" in stage.policies and not 2 <= stage.attempts <= 100:
        yield f"attempts is {stage.attempts}: `retry` makes 2 to 100 calls"
    elif not unknown and "retry" not in stage.policies and stage.attempts != 1:
        yield f"attempts is {stage.attempts}: only on_timeout `retry` and on_failure `retry` call more than once"


def _time_faults(stage: Stage) -> Iterator[str]:
    for field in ("timeout", "call_timeout", "call_within"):
        if not SHORTEST_SECONDS <= getattr(stage, field) <= LONGEST_SECONDS:
            yield f"{field} is {getattr(stage, field)}: use seconds, {SHORTEST_SECONDS:g} or more and at most a year"
    for field, meaning in ZERO_MEANS.items():
        if not 0 <= getattr(stage, field) <= LONGEST_SECONDS:  # NaN is not in the range
            yield f"{field} is {getattr(stage, field)}: use seconds, 0 for {meaning} and at most a year"
    if 0 < stage.ask_every < SHORTEST_ASK_EVERY:
        yield f"ask_every is {stage.ask_every}: use {SHORTEST_ASK_EVERY:g} seconds or more"


def _input_faults(run: PipelineRun) -> Iterator[str]:
    if len(json.dumps(run.input)) > LARGEST_INPUT:
        yield f"input is larger than {LARGEST_INPUT} bytes"
    for stage in run.pipeline.stages:
        for source in stage.needs.values():
            origin, _, part = source.partition(".")
            if origin == "input" and part not in run.input:
                yield f"input.{part} is missing: stage {stage.number} {stage.name} needs it"


def _short_fault(fault: str) -> str:
    return fault[:LONGEST_FAULT].encode("utf-8", "backslashreplace").decode()


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
