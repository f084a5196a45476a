"""Views of a run: the answer to the `progress` query, and the details in Temporal's UI."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from workflows.contract import Stage, StageProgress
from workflows.stage_record import StageRecord


def details(name: str, stages: Iterable[tuple[Stage, StageRecord]]) -> str:
    """The stages as Markdown, for the current details in the UI."""
    lines = [f"**{name}**", ""]
    for stage, record in stages:
        label = f"{stage.name} ({stage.partner})" if stage.partner else f"stage {stage.number}"
        lines.append(f"{stage.number}. {label}: {_in_words(record)}")
    return "\n".join(lines)


def stage_progress(stage: Stage, record: StageRecord) -> StageProgress:
    """A stage in the answer to `progress`."""
    outcome = record.outcome
    return StageProgress(
        number=stage.number,
        name=stage.name,
        partner=stage.partner,
        state=record.state,
        attempts=record.attempt,
        called_at=record.called_at,
        deadline=record.deadline,
        outcome=outcome.status if outcome else None,
        cause=outcome.cause if outcome else None,
        settled_at=outcome.at if outcome else None,
        code=outcome.code if outcome else "",
        message=outcome.message if outcome else "",
        note=record.note,
        ledger=list(record.ledger),
        ledger_total=record.ledger_total,
        expires_at=record.expires_at,
        reference=record.reference,
        outcome_attempt=outcome.attempt if outcome else 0,
    )


def _in_words(record: StageRecord) -> str:
    if record.outcome is not None:
        return f"{record.outcome.status} by {record.outcome.cause}"
    if record.deadline is not None:
        until = datetime.fromtimestamp(record.deadline, UTC)
        return f"call {record.attempt}, waiting until {until:%Y-%m-%d %H:%M:%S} UTC"
    return f"call {record.attempt}, calling" if record.state == "calling" else record.state
