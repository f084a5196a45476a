"""Search attributes, by which operators find runs: the open stages of a run, their partners, state and next deadline.

A namespace has these attributes only if they were registered. A client that knows that they are there sets the first
when it starts a run; without it the run writes none, because an unknown attribute would block the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.common import SearchAttributeKey, SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes

from workflows.contract import Stage, State
from workflows.stage_record import StageRecord

PIPELINE_KEY: Final = SearchAttributeKey.for_keyword("StagehookPipeline")
STAGE_KEY: Final = SearchAttributeKey.for_keyword_list("StagehookStage")
PARTNER_KEY: Final = SearchAttributeKey.for_keyword_list("StagehookPartner")
STATE_KEY: Final = SearchAttributeKey.for_keyword("StagehookState")
DEADLINE_KEY: Final = SearchAttributeKey.for_datetime("StagehookDeadline")

ATTRIBUTES: Final[Sequence[SearchAttributeKey[Any]]] = (PIPELINE_KEY, STAGE_KEY, PARTNER_KEY, STATE_KEY, DEADLINE_KEY)
"""The pipeline's name, set at the start; and of the open stages their names, their partners, the most urgent state, and
the earliest deadline."""

OPEN_STATES: Final[Sequence[State]] = ("needs_person", "waiting", "calling")
"""The states of an open stage, the most urgent first."""

LONGEST_VALUE: Final = 200
LARGEST_VALUES: Final = 1_500
"""Maximum characters of a value, and of a list of values as JSON. Above 2 KiB Temporal would block the run."""

LATEST_DEADLINE: Final = 2.0**33
"""Unix seconds, in the year 2242: Temporal's stores of attributes know no dates after 2262."""

PUT_OFF: Final = "progress-moves-the-deadline"
"""Name of the patch by which a run writes a deadline that was put off, also without an operator's command."""

NOTICEABLE_DELAY: Final = 60.0
NOTICEABLE_PART: Final = 0.1
"""By so many seconds, and by this part of the time left, a deadline must have been put off to be written before the
written deadline has passed: each write is a billed action, and a partner may report progress every second."""


def open_stages(stages: Iterable[tuple[Stage, StageRecord]]) -> list[SearchAttributeUpdate[Any]]:
    """The values of the attributes for these stages of a run; without an open stage they are removed."""
    found = [(stage, record) for stage, record in stages if record.state in OPEN_STATES]
    if not found:
        return [key.value_unset() for key in (STAGE_KEY, PARTNER_KEY, STATE_KEY, DEADLINE_KEY)]
    states = {record.state for _, record in found}
    deadline = _earliest_deadline(found)
    return [
        STAGE_KEY.value_set(_fitting(stage.name or str(stage.number) for stage, _ in found)),
        PARTNER_KEY.value_set(_fitting(stage.partner for stage, _ in found if stage.partner)),
        STATE_KEY.value_set(next(state for state in OPEN_STATES if state in states)),
        DEADLINE_KEY.value_unset()
        if deadline is None
        else DEADLINE_KEY.value_set(datetime.fromtimestamp(deadline, UTC)),
    ]


def is_put_off(stages: Iterable[tuple[Stage, StageRecord]], written: datetime | None, *, at: float) -> bool:
    """Whether the earliest deadline is so much later than the written deadline that it is to be written again.

    written: the value of the attribute. at: now, in unix seconds. Example: of an hour, progress after 5 minutes moves
    the deadline by too little to write it at once. It is written when the hour is over, before the run looks overdue
    for longer than a moment.
    """
    deadline = _earliest_deadline((stage, record) for stage, record in stages if record.state in OPEN_STATES)
    if deadline is None or written is None:
        return False
    passed = written.timestamp() <= at
    return deadline - written.timestamp() >= (
        1.0 if passed else max(NOTICEABLE_DELAY, NOTICEABLE_PART * (deadline - at))
    )


def start_attributes(pipeline: str) -> TypedSearchAttributes:
    """The search attributes with which a run of the pipeline is started, if its namespace has all of them."""
    return TypedSearchAttributes([SearchAttributePair(PIPELINE_KEY, short_value(pipeline))])


def is_findable(attributes: TypedSearchAttributes) -> bool:
    """Whether a run with these attributes was started with them, and so may write them."""
    return attributes.get(PIPELINE_KEY) is not None


def short_value(value: str) -> str:
    """The value as it is written: its beginning, if it is too long."""
    return value[:LONGEST_VALUE]


def _earliest_deadline(found: Iterable[tuple[Stage, StageRecord]]) -> float | None:
    deadlines = [deadline for stage, record in found if (deadline := _deadline(stage, record)) is not None]
    return min(*deadlines, LATEST_DEADLINE) if deadlines else None


def _deadline(stage: Stage, record: StageRecord) -> float | None:
    """The stage's deadline in unix seconds. During a call: as if the call ended at once, to save a second update."""
    if record.state == "calling" and record.called_at is not None:
        return record.called_at + stage.timeout
    return record.deadline


def _fitting(values: Iterable[str]) -> list[str]:
    """The values, each once, as far as they fit into an attribute."""
    kept: list[str] = []
    for value in map(short_value, values):
        if value not in kept and len(json.dumps([*kept, value])) <= LARGEST_VALUES:
            kept.append(value)
    return kept
