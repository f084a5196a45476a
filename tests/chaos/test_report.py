"""The report of a chaos run: what makes it good, and what it prints."""

from __future__ import annotations

from dataclasses import replace

import pytest
from temporalio.client import WorkflowHistory

from tests.chaos.evidence import Evidence
from tests.chaos.fire import Report
from tests.chaos.plan import make_plan
from tests.chaos.trial import unreplayable
from tests.workflows.record_histories import FOLDER
from workflows.contract import ADVANCE_STAGE

GOOD = Report(make_plan(7, 10, "none"), by_callback=9, runs=10)


def test_a_chaos_run_is_good_if_nine_in_ten_end_by_callbacks() -> None:
    assert GOOD.is_good
    assert "good" in GOOD.lines()


@pytest.mark.parametrize(
    "report",
    [
        replace(GOOD, by_callback=8),
        replace(GOOD, by_callback=0, runs=0),
        replace(GOOD, unfired=["killed web-1 at 3 s"]),
        replace(GOOD, broken=["lost: run-1"]),
    ],
)
def test_a_chaos_run_is_not_good_otherwise(report: Report) -> None:
    assert not report.is_good
    lines = report.lines()
    assert "NOT GOOD" in lines
    assert all(any(why in line for line in lines) for why in (*report.unfired, *report.broken))


async def test_a_history_that_does_not_replay_is_told_with_its_run() -> None:
    text = (FOLDER / "completed.json").read_text()
    sound = WorkflowHistory.from_json("run-1", text)
    altered = WorkflowHistory.from_json("run-2", text.replace(ADVANCE_STAGE, "renamed"))
    (why,) = await unreplayable(Evidence([], [], {"run-1": [sound], "run-2": [altered]}))
    assert why.startswith("unreplayable: run-2: ")
