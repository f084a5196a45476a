"""What a trial has recorded: requests, rows, signals, histories and logs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from receiver.deliveries.delivery import Delivery
from tests.chaos.ledger import Entry
from tests.chaos.partner import Call
from workflows.contract import ADVANCE_STAGE, Answer

AFTERMATH: Final = 6.0
"""Seconds after a fault in which a receiver may still do without the store, or send again what it could not send."""

Said = tuple[int, int, str, str, str, str]
"""Stage, attempt, status, data, code and message of a callback."""


@dataclass(frozen=True)
class Window:
    """The time of a fault, in unix seconds. place: what it met."""

    place: str
    began: float
    over: float


@dataclass(frozen=True)
class Kept:
    """A delivery of the store. bare: Temporal took it while the store was away."""

    delivery: Delivery
    request_id: str = ""
    bare: bool = False


@dataclass(frozen=True)
class Evidence:
    """Everything that was recorded.

    lineages: by workflow id, the executions that led to the run's end, in order. branches: the executions that a reset
    has ended. resets: workflow ids of the runs that were reset, or may have been. kept: None without a store.
    sent: the times and request ids of signals, by receiver. logs: by name.
    ended: names of the parts that do not run at the end.
    before, after: answers to `outcomes`, by workflow id, seen during the run and at its end.
    """

    entries: Sequence[Entry]
    calls: Sequence[Call]
    lineages: Mapping[str, Sequence[WorkflowHistory]]
    branches: Mapping[str, Sequence[WorkflowHistory]] = field(default_factory=dict)
    resets: Collection[str] = ()
    kept: Sequence[Kept] | None = None
    windows: Sequence[Window] = ()
    sent: Mapping[str, Sequence[tuple[float, str]]] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    ended: Sequence[str] = ()
    before: Sequence[tuple[str, Any]] = ()
    after: Mapping[str, Any] = field(default_factory=dict)

    @property
    def executions(self) -> Iterator[tuple[str, WorkflowHistory]]:
        """Every execution, with its workflow id."""
        for found in (self.lineages, self.branches):
            yield from ((id_, history) for id_, histories in found.items() for history in histories)


def accepted_in(evidence: Evidence) -> dict[str, Entry]:
    """For each content, the entry with the first 2xx."""
    found: dict[str, Entry] = {}
    for entry in sorted(evidence.entries, key=lambda entry: entry.answered_at):
        if entry.accepted and entry.kind != "forged":
            found.setdefault(entry.content, entry)
    return found


def is_row_of(row: Delivery, entry: Entry) -> bool:
    claims, digest = entry.claims, entry.content.rpartition("/")[2]
    return (row.workflow_id, row.stage, row.attempt, row.body_digest[:16]) == (
        claims.workflow_id,
        claims.stage,
        claims.attempt,
        digest,
    )


def signals_in(histories: Sequence[WorkflowHistory]) -> Iterator[HistoryEvent]:
    """The callbacks among the signals."""
    for history in histories:
        for event in history.events:
            signal = event.workflow_execution_signaled_event_attributes
            # Of an event of another type these attributes are empty.
            if signal.signal_name == ADVANCE_STAGE and len(signal.input.payloads) == 2:
                yield event


def arguments(event: HistoryEvent) -> tuple[int, Mapping[str, Any]]:
    payloads = event.workflow_execution_signaled_event_attributes.input.payloads
    stage, callback = (json.loads(payload.data) for payload in payloads)
    return stage, callback


def said_by(event: HistoryEvent) -> Said:
    stage, callback = arguments(event)
    return _as_said(stage, callback["attempt"], Answer(**callback["answer"]))


def said_in(entry: Entry) -> Said:
    return _as_said(entry.claims.stage, entry.claims.attempt, entry.answer)


def _as_said(stage: int, attempt: int, answer: Answer) -> Said:
    any_attempt = 0 if answer.status == "succeeded" else attempt
    return stage, any_attempt, answer.status, json.dumps(dict(answer.data), sort_keys=True), answer.code, answer.message


def outcomes_in(histories: Sequence[WorkflowHistory]) -> list[Mapping[str, Any]]:
    """The outcomes of a run that completed, in the order of its stages."""
    if not histories:
        return []
    last = histories[-1].events[-1]
    if last.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
        return []
    [payload] = last.workflow_execution_completed_event_attributes.result.payloads
    return list(json.loads(payload.data)["outcomes"].values())


def ended_at(histories: Sequence[WorkflowHistory]) -> float:
    if not outcomes_in(histories):
        return inf
    at = histories[-1].events[-1].event_time
    return float(at.seconds + at.nanos / 1e9)


def was_reset(history: WorkflowHistory) -> bool:
    cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
    return any(
        event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        and event.workflow_task_failed_event_attributes.cause == cause
        for event in history.events
    )


def is_disturbed(evidence: Evidence, since: float, until: float, place: str = "") -> bool:
    """Whether there was a fault then or shortly before. place: of this place only."""
    return any(
        window.began - 1.0 < until and since < window.over + AFTERMATH
        for window in evidence.windows
        if place in {"", window.place}
    )
