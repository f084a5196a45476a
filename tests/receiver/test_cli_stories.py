"""The stories that `pipeline show` tells: what happened to each stage, and what an operator can do about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.telling.stories import Teller
from workflows.contract import LedgerEntry, Outcome, Progress, StageProgress

NOW = datetime(2026, 11, 27, 18, 0, tzinfo=UTC).timestamp()
NOON = datetime(2026, 11, 27, 12, 1, tzinfo=UTC).timestamp()
LATER = datetime(2026, 12, 3, 12, 1, tzinfo=UTC).timestamp()
NEXT_YEAR = datetime(2027, 1, 3, 12, 1, tzinfo=UTC).timestamp()
CALLED: dict[str, Any] = {"attempts": 1, "called_at": NOON, "attempts_planned": 1, "on_timeout": "fail"}
CALLED |= {"on_failure": "fail"}
SAID: dict[str, Any] = {"code": "declined", "message": "no such account"}
SETTLED: dict[str, Any] = {**CALLED, "state": "settled", "settled_at": NOON + 300}


def stories(*, is_open: bool = True, outcomes: dict[str, Outcome] | None = None, **changes: Any) -> list[str]:
    known: dict[str, Any] = {"state": "waiting", **changes}
    progress = Progress("onboarding", "chain", [StageProgress(2, "account-check", "bank", **known)])
    return list(Teller("my run", is_open, outcomes or {}, NOW).stories(progress))


PERSON = (
    "waits for a person until 3 Dec 12:01 UTC: settle it with `stagehook pipeline succeed 'my run' 2 --reason ...`, "
    "or use call-again, extend, skip or fail"
)
OPEN: dict[str, tuple[dict[str, Any], str]] = {
    "not begun": ({"state": "pending"}, "its turn has not come"),
    "calling": ({**CALLED, "state": "calling"}, "calls bank since 12:01 UTC; waits for the answer"),
    "waiting": (
        {**CALLED, "deadline": LATER},
        "called bank at 12:01 UTC; waits for its callback until 3 Dec 12:01 UTC, then the run fails",
    ),
    "the first of three calls": (
        {**CALLED, "attempts_planned": 3, "on_timeout": "retry", "deadline": NEXT_YEAR},
        "called bank at 12:01 UTC (call 1 of 3); waits for its callback until 3 Jan 2027 12:01 UTC, "
        "then it is called again",
    ),
    "the last of three calls": (
        {**CALLED, "attempts": 3, "attempts_planned": 3, "on_timeout": "retry", "deadline": LATER},
        "called bank at 12:01 UTC (call 3 of 3); waits for its callback until 3 Dec 12:01 UTC, then the run fails",
    ),
    "a call by an operator": (
        {**CALLED, "attempts": 2, "on_timeout": "escalate", "deadline": LATER},
        "called bank at 12:01 UTC (call 2); waits for its callback until 3 Dec 12:01 UTC, then a person decides",
    ),
    "a broken answer": (
        {**CALLED, "on_timeout": "skip", "deadline": LATER, "note": "partner bank answered 500"},
        "called bank at 12:01 UTC; trouble with this call: partner bank answered 500; "
        "waits for its callback until 3 Dec 12:01 UTC, then the stage is skipped",
    ),
    "declined": (
        {**CALLED, **SAID, "attempts": 2, "attempts_planned": 3, "state": "needs_person", "deadline": LATER}
        | {"trouble": "callback"},
        f"called bank at 12:01 UTC (call 2 of 3); it answered `declined: no such account`; {PERSON}",
    ),
    "declined without a word": (
        {**CALLED, "state": "needs_person", "deadline": LATER, "trouble": "answered"},
        f"called bank at 12:01 UTC; it answered `failed`; {PERSON}",
    ),
    "silent": (
        {**CALLED, "state": "needs_person", "deadline": LATER, "trouble": "timeout"}
        | {"message": "no callback within 60 s (partner bank answered 500)", "note": "partner bank answered 500"},
        f"called bank at 12:01 UTC; no callback within 60 s (partner bank answered 500); {PERSON}",
    ),
    "a pause": (
        {**CALLED, **SAID, "attempts_planned": 3, "trouble": "callback", "calls_again_at": NOON + 6 * 3600},
        "called bank at 12:01 UTC (call 1 of 3); it answered `declined: no such account`; calls again at 18:01 UTC",
    ),
    "a wait of a class of one's own": ({}, "waits for a signal by hand"),
    "an older worker": (
        {"attempts": 1, "called_at": NOON, "deadline": LATER},
        "called bank at 12:01 UTC; waits for its callback until 3 Dec 12:01 UTC",
    ),
}


@pytest.mark.parametrize(("changes", "story"), OPEN.values(), ids=OPEN)
def test_an_open_stage_says_what_it_waits_for(changes: dict[str, Any], story: str) -> None:
    assert stories(**changes) == [f"stage 2 account-check: {story}"]


ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "a callback": ({"outcome": "succeeded", "cause": "callback"}, "succeeded by its callback at 12:06 UTC"),
    "an earlier call's callback": (
        {"outcome": "succeeded", "cause": "callback", "attempts": 2, "attempts_planned": 2, "outcome_attempt": 1},
        "succeeded by its callback to call 1 at 12:06 UTC",
    ),
    "an answer": ({"outcome": "succeeded", "cause": "answered"}, "succeeded by its immediate answer at 12:06 UTC"),
    "an ask": (
        {"outcome": "failed", "cause": "asked", **SAID},
        "failed when it was asked at 12:06 UTC: declined: no such account",
    ),
    "a refusal": (
        {"outcome": "failed", "cause": "failed", "message": "partner bank answered 422"},
        "failed at 12:06 UTC: partner bank answered 422",
    ),
    "silence": (
        {"outcome": "skipped", "cause": "timeout", "message": "no callback within 60 s"},
        "was skipped at 12:06 UTC: no callback within 60 s",
    ),
    "a skipped failure": (
        {"outcome": "skipped", "cause": "callback", **SAID},
        "it answered `declined: no such account`, and was skipped at 12:06 UTC",
    ),
    "advanced": ({"outcome": "advanced", "cause": "operator"}, "an operator advanced past it at 12:06 UTC"),
    "succeeded by hand": (
        {"outcome": "succeeded", "cause": "operator"},
        "an operator settled it as succeeded at 12:06 UTC",
    ),
    "failed by hand": (
        {"outcome": "failed", "cause": "operator", "message": "as agreed"},
        "an operator failed it at 12:06 UTC: as agreed",
    ),
    "skipped by hand": (
        {"outcome": "skipped", "cause": "operator", "message": "as agreed"},
        "an operator skipped it at 12:06 UTC: as agreed",
    ),
    "cancelled": ({"outcome": "failed", "cause": "cancelled"}, "was cancelled at 12:06 UTC"),
}


@pytest.mark.parametrize(("changes", "end"), ENDS.values(), ids=ENDS)
def test_a_settled_stage_says_how(changes: dict[str, Any], end: str) -> None:
    [story] = stories(**{**SETTLED, **changes})
    assert story.partition("; ")[2] == end


def test_an_outcomes_data_and_the_ledger_follow_the_story() -> None:
    ledger = [LedgerEntry("extend by 2 hours, by ada", "the partner is slow", NOON)]
    data = {"account_id": "acc-1", "limits": {"daily": 5}}
    outcome = Outcome("succeeded", "callback", NOON + 300, 1, data)
    told = stories(
        **SETTLED,
        outcome="succeeded",
        cause="callback",
        ledger=ledger,
        ledger_total=3,
        outcomes={"account-check": outcome, "other": outcome},
    )
    assert told[1:] == [
        "  account_id: acc-1",
        '  limits: {"daily": 5}',
        "  2026-11-27 12:01:00 extend by 2 hours, by ada: the partner is slow",
        "  and 2 more like these",
    ]


def test_a_stage_left_open_by_its_run_waits_no_longer() -> None:
    [story] = stories(is_open=False, **CALLED, deadline=LATER)
    assert story == "stage 2 account-check: called bank at 12:01 UTC; it was open when the run ended"
    [pending] = stories(is_open=False, state="pending")
    assert pending == "stage 2 account-check: its turn did not come"


def test_ignored_signals_are_counted_at_the_end() -> None:
    progress = Progress("onboarding", "chain", [], ignored={"no such stage": 2})
    assert list(Teller("run", True, {}, NOW).stories(progress)) == ["ignored signals: 2 (no such stage)"]
