"""A stage's story in sentences: what was called, what came back, what is awaited, and what an operator can do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from receiver.telling.moments import utc_text
from receiver.telling.stages import stage_name
from workflows.contract import Outcome, Progress, StageProgress

ANSWERS: Final = {"callback": "by its callback", "answered": "by its immediate answer", "asked": "when it was asked"}
"""How a partner gave an answer, by the outcome's cause."""

THEN: Final = {
    "fail": "the run fails",
    "retry": "it is called again",
    "skip": "the stage is skipped",
    "escalate": "a person decides",
}
"""What happens at the deadline, by the stage's policy."""

BY_OPERATOR: Final = {"succeeded": "settled it as succeeded", "failed": "failed it", "skipped": "skipped it"}


@dataclass(frozen=True)
class Teller:
    """Tells the stories of a run's stages.

    outcomes: the settled stages' outcomes by name, as far as they are known. now: unix seconds.
    """

    workflow_id: str
    is_open: bool
    outcomes: Mapping[str, Outcome]
    now: float

    def stories(self, progress: Progress) -> Iterator[str]:
        """Yield a sentence for each stage, and below it its outcome's data and its ledger; then the ignored signals."""
        for stage in progress.stages:
            yield f"stage {stage_name(stage)}: {'; '.join(self.parts(stage))}"
            yield from (f"  {line}" for line in self.data_lines(stage))
            yield from _ledger_lines(stage)
        for reason, count in progress.ignored.items():
            yield f"ignored signals: {count} ({reason})"

    def data_lines(self, stage: StageProgress) -> Iterator[str]:
        """Yield a line for each field of the stage's outcome's data, as far as it is known."""
        if outcome := self.outcomes.get(stage.name or str(stage.number)):
            yield from field_lines(outcome.data)

    def parts(self, stage: StageProgress) -> Iterator[str]:
        """Yield the parts of a stage's sentence: its call, its trouble, and its end or what it waits for."""
        if stage.attempts and stage.called_at:
            verb = "calls" if stage.state == "calling" else "called"
            since = "since" if stage.state == "calling" else "at"
            yield f"{verb} {stage.partner} {since} {self._moment(stage.called_at)}{_count(stage)}"
        if stage.note and stage.note not in stage.message:
            yield f"trouble with this call: {stage.note}"
        if stage.outcome:
            yield self._end(stage)
            return
        if stage.trouble:
            yield _trouble(stage)
        yield self._next(stage) if self.is_open else _left(stage)

    def _next(self, stage: StageProgress) -> str:
        """What the open stage of an open run waits for."""
        if stage.state == "pending":
            return "its turn has not come"
        if stage.calls_again_at:
            return f"calls again at {self._moment(stage.calls_again_at)}"
        if stage.state == "needs_person":
            command = f"stagehook pipeline succeed {shlex.quote(self.workflow_id)} {stage.number} --reason ..."
            until = f" until {self._moment(stage.deadline)}" if stage.deadline else ""
            return f"waits for a person{until}: settle it with `{command}`, or use call-again, extend, skip or fail"
        if stage.state == "calling":
            return "waits for the answer"
        if stage.deadline is None:
            return "waits for a signal by hand"
        is_last = stage.on_timeout == "retry" and stage.attempts >= stage.attempts_planned
        then = THEN.get("fail" if is_last else stage.on_timeout)
        return f"waits for its callback until {self._moment(stage.deadline)}" + (f", then {then}" if then else "")

    def _end(self, stage: StageProgress) -> str:
        """How the stage was settled."""
        status, said = str(stage.outcome), _said(stage)
        at = f"at {self._moment(stage.settled_at)}" if stage.settled_at else ""
        if stage.cause == "operator":
            end = f"an operator {BY_OPERATOR.get(status, 'advanced past it')} {at}"
        elif stage.cause in ANSWERS and status == "skipped":
            return f"it answered `{said or 'failed'}`, and was skipped {at}"
        elif stage.cause in ANSWERS:
            of = f" to call {stage.outcome_attempt}" if 0 < stage.outcome_attempt != stage.attempts else ""
            end = f"{status} {ANSWERS[stage.cause]}{of} {at}"
        elif stage.cause == "cancelled":
            end = f"was cancelled {at}"
        else:
            end = f"{'was skipped' if status == 'skipped' else status} {at}"
        return f"{end}: {said}" if said else end

    def _moment(self, at: float) -> str:
        """Return the time in UTC, with the day and the year only if they are not today's."""
        moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(self.now, UTC)
        day = "" if moment.date() == today.date() else f"{moment.day} {moment:%b} "
        year = "" if moment.year == today.year else f"{moment.year} "
        return f"{day}{year}{moment:%H:%M} UTC"


def field_lines(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each field of an outcome's data."""
    for field, value in data.items():
        yield f"{field}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def _count(stage: StageProgress) -> str:
    """Return ` (call 2 of 3)`; "" for the only call of a stage that has one."""
    if stage.attempts <= stage.attempts_planned and stage.attempts_planned > 1:
        return f" (call {stage.attempts} of {stage.attempts_planned})"
    return f" (call {stage.attempts})" if stage.attempts > 1 else ""


def _left(stage: StageProgress) -> str:
    """What the run has left open by its end."""
    return "its turn did not come" if stage.state == "pending" else "it was open when the run ended"


def _said(stage: StageProgress) -> str:
    return ": ".join(part for part in (stage.code, stage.message) if part)


def _trouble(stage: StageProgress) -> str:
    """What keeps the open stage from going on."""
    said = _said(stage)
    if stage.trouble in ANSWERS:
        return f"it answered `{said or 'failed'}`"
    return said or f"the call ended by {stage.trouble}"


def _ledger_lines(stage: StageProgress) -> Iterator[str]:
    for entry in stage.ledger:
        yield f"  {utc_text(entry.at)} {entry.what}: {entry.why}"
    if stage.ledger_total > len(stage.ledger):
        yield f"  and {stage.ledger_total - len(stage.ledger)} more like these"
