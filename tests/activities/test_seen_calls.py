"""When a stage is still as an operator saw it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from activities.operations import SeenCall
from workflows.contract import Progress, StageProgress

STAGE = StageProgress(2, "check", "bank", "waiting", 1, 100.0, 500.0, None, None, None)
SEEN = SeenCall("chain", 1, 100.0, "waiting", 500.0)


def progress(chain: str = "chain", **changes: Any) -> Progress:
    return Progress("testing", chain, [replace(STAGE, **changes)], 0, 3, {})


@pytest.mark.parametrize("changes", [{}, {"deadline": 400.0}, {"note": "x"}])
def test_a_stage_as_it_was_seen_takes_a_command(changes: dict[str, Any]) -> None:
    assert [SEEN.why_gone(2, progress(**changes), repeated=repeated) for repeated in (False, True)] == ["", ""]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (progress("other"), "another run has this id by now"),
        (progress(number=1), "the run has no stage 2"),
        (progress(called_at=200.0), "stage 2 was called again since"),
        (progress(state="needs_person"), "stage 2 is needs_person by now, not waiting"),
        (progress(deadline=501.0), "the deadline of stage 2 was put off since"),
        (progress(deadline=None), "the deadline of stage 2 was put off since"),
    ],
)
def test_a_stage_that_has_changed_takes_none(now: Progress, why: str) -> None:
    assert [SEEN.why_gone(2, now, repeated=repeated) for repeated in (False, True)] == [why, why]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (progress(state="settled", outcome="skipped", cause="operator"), "stage 2 is settled: skipped by operator"),
        (progress(attempts=2, called_at=200.0), "stage 2 is at call 2 by now, not 1"),
    ],
)
def test_what_the_command_itself_may_have_done_is_no_reason(now: Progress, why: str) -> None:
    """If it may have been sent before: then the run finds out by the command's id."""
    assert SEEN.why_gone(2, now) == why
    assert SEEN.why_gone(2, now, repeated=True) == ""


def test_without_a_state_and_a_deadline_any_will_do() -> None:
    assert SeenCall("chain", 1, 100.0).why_gone(2, progress(state="needs_person", deadline=None)) == ""
