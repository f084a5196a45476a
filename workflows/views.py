"""Views of a run: the answer to the `progress` query, and the details in Temporal's UI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from workflows.contract import LedgerEntry, Stage, StageProgress
from workflows.stage_record import StageRecord


def details(name: str, stages: Iterable[tuple[Stage, StageRecord]]) -> str:
    """The stages as Markdown, for the current details in the UI."""
    lines = [f"**{name}**", ""]
    for stage, record in stages:
        label = f"{stage.name} ({stage.partner})" if stage.partner else f"stage {stage.number}"
        lines.append(f"{stage.number}. {label}: {_in_words(record)}")
    return "\n".join(lines)


def stage_progress(stage: Stage, record: StageRecord, commands: Sequence[LedgerEntry] = ()) -> StageProgress:
    """A stage in the answer to `progress`; `commands` are the operators' entries of its ledger."""
    outcome = record.outcome
    said = outcome or record.trouble
    on_timeout, on_failure = stage.policies
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
        code=said.code if said else "",
        message=said.message if said else "",
        note=record.note,
        ledger=sorted([*record.ledger, *commands], key=lambda entry: entry.at),
        ledger_total=record.ledger_total + len(commands),
        expires_at=record.expires_at,
        reference=record.reference,
        outcome_attempt=outcome.attempt if outcome else 0,
        calls_again_at=record.pause_until,
        attempts_planned=stage.attempts if stage.partner else 0,
        on_timeout=on_timeout if stage.partner else "",
        on_failure=on_failure if stage.partner else "",
        trouble=record.trouble.cause if record.trouble and not outcome else "",
        token_version=record.token_version,
    )


def _in_words(record: StageRecord) -> str:
    if record.outcome is not None:
        return f"{record.outcome.status} by {record.outcome.cause}"
    if record.deadline is not None:
        until = _moment(record.deadline)
        if record.pause_until is not None:
            return f"calling again at {until}"
        if record.state == "needs_person":
            return f"**needs a person** until {until}"
        return f"call {record.attempt}, waiting until {until}"
    return f"call {record.attempt}, calling" if record.state == "calling" else record.state


def _moment(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):  # after the year 9999, as carried state of another client may say
        return f"{at:.0f}"
