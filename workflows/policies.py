"""What becomes of a stage whose call did not succeed: the policies `fail`, `retry`, `skip` and `escalate`.

Pure functions over a stage's definition and its record; the workflow calls them when a wait ends.
"""

from __future__ import annotations

from workflows.contract import Answer, Policy, Stage
from workflows.durations import describe
from workflows.stage_record import StageRecord, Trouble


def decide(stage: Stage, record: StageRecord, *, at: float) -> None:
    """Settle an open stage whose wait has ended, or record how the stage goes on: a pause, a call, or a person.

    at: unix seconds. Call it when the deadline has passed, or when the record has undecided trouble.
    """
    if record.pause_until is not None:
        record.end_pause()
        return
    if record.trouble is None:
        record.fall_silent("timeout", _silence(stage, record), at=at)
    trouble = record.trouble
    if trouble is None:  # the stage is settled
        return
    if record.escalated_at is not None:
        why = f"no person settled it within {describe(record.escalate_within + record.extended)}"
        _settle(record, trouble, f"{trouble.message}; {why}" if trouble.message else why, at=at)
        return
    _apply(policy_for(stage, trouble), stage, record, trouble, at=at)


def policy_for(stage: Stage, trouble: Trouble) -> Policy:
    """The stage's policy for this trouble; `fail` if `retry` has no attempts left."""
    on_silence, on_failure = stage.policies
    policy = on_silence if trouble.is_silence else on_failure
    return "fail" if policy == "retry" and trouble.attempt >= stage.attempts else policy


def _apply(policy: Policy, stage: Stage, record: StageRecord, trouble: Trouble, *, at: float) -> None:
    what = f"call {trouble.attempt} failed by {trouble.cause}"
    match policy:
        case "retry":
            pause = stage.pause_after(trouble.attempt)
            record.retry(at=at, pause=pause)
            record.enter(what, f"{trouble.text}; calling again" + (f" in {describe(pause)}" if pause else ""), at=at)
        case "escalate":
            record.escalate(at=at, within=stage.longest_escalation)
            record.enter(what, f"{trouble.text}; waiting for a person", at=at)
        case "skip":
            answer = Answer("failed", code=trouble.code, message=trouble.message)
            record.settle("skipped", trouble.cause, at=at, answer=answer)
        case _:
            _settle(record, trouble, trouble.message, at=at)


def _settle(record: StageRecord, trouble: Trouble, message: str, *, at: float) -> None:
    record.settle("failed", trouble.cause, at=at, answer=Answer("failed", code=trouble.code, message=message))


def _silence(stage: Stage, record: StageRecord) -> str:
    silence = f"no callback within {stage.timeout:g} s"
    if record.extended:
        silence += f", which operators extended by {describe(record.extended)}"
    return f"{silence} ({record.note})" if record.note else silence
