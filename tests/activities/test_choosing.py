"""Which of a run's stages a filter is about, and in which order runs are acted on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from temporalio.testing import WorkflowEnvironment

from activities import choosing
from activities.choosing import MOST_SILENT, ChosenRun, ChosenStage, choose_open_runs
from activities.finding import RunFilter, register_attributes
from activities.listing import Run
from activities.run_errors import WorkerAway
from activities.runs import Runs
from tests.parts.bulk_runs import begin_waiting, until_listed
from tests.support import ScriptedPartner, stage, working
from workflows.contract import StageProgress
from workflows.finding import LONGEST_VALUE

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
STAGE = StageProgress(
    2, "account-check", "bank", "waiting", 1, NOON.timestamp() - 60, NOON.timestamp(), None, None, None
)
CHOSEN = ChosenStage(2, "account-check", "bank", "waiting", 1)


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        (RunFilter(), {}),
        (RunFilter(waiting=True, pipeline="onboarding"), {"state": "calling"}),
        (RunFilter(partner="bank", stage="account-check", state="waiting"), {}),
        (RunFilter(stage="2"), {"name": ""}),
        (RunFilter(partner="x" * 999), {"partner": "x" * LONGEST_VALUE + "y"}),
        (RunFilter(state="needs_person"), {"state": "needs_person"}),
        (RunFilter(due=datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC)), {}),
    ],
)
def test_a_stage_that_has_all_of_a_filter_is_chosen(where: RunFilter, changes: dict[str, Any]) -> None:
    assert where.chooses(replace(STAGE, **changes))


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        (RunFilter(), {"state": "settled"}),
        (RunFilter(), {"state": "pending"}),
        (RunFilter(partner="post"), {}),
        (RunFilter(partner="bank", stage="card"), {}),
        (RunFilter(stage="2"), {}),
        (RunFilter(state="waiting"), {"state": "calling"}),
        (RunFilter(state="needs_person"), {}),
        (RunFilter(due=NOON), {}),
        (RunFilter(due=NOON), {"deadline": None}),
    ],
)
def test_a_stage_that_lacks_one_thing_is_not_chosen(where: RunFilter, changes: dict[str, Any]) -> None:
    assert not where.chooses(replace(STAGE, **changes))


@pytest.mark.system
async def test_runs_are_acted_on_by_their_deadline(real: WorkflowEnvironment) -> None:
    """Temporal lists the latest run first, which has the most time here."""
    await register_attributes(real.client)
    async with working(real.client, ScriptedPartner()):
        await begin_waiting(real, "soon", stage(1, timeout=600.0))
        await begin_waiting(real, "late", stage(1, timeout=9000.0))
        await until_listed(real, RunFilter(waiting=True), 2)
        chosen = await choose_open_runs(Runs(real.client), RunFilter(waiting=True), limit=10)
    assert [run.workflow_id for run in chosen.runs] == ["soon", "late"]


async def test_silent_runs_among_others_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only many in a row mean that no worker runs."""
    listed = [Run(f"run-{n}", f"id-{n}", "testing", "running", NOON, None) for n in range(3 * MOST_SILENT)]

    async def listing(*_: object, **__: object) -> list[Run]:
        return listed

    async def counting(*_: object) -> dict[str, int]:
        return {"running": len(listed)}

    async def asking(runs: Runs, run: Run, where: RunFilter) -> ChosenRun:
        if int(run.run_id.removeprefix("id-")) % 2:
            raise WorkerAway("no worker answers")
        return ChosenRun(run.workflow_id, run.run_id, run.pipeline, run.status, "chain", [CHOSEN])

    for name, stub in (("list_runs", listing), ("count_runs", counting), ("_stages", asking)):
        monkeypatch.setattr(choosing, name, stub)
    chosen = await choosing.choose_open_runs(cast(Runs, None), RunFilter(), limit=1000)
    assert len(chosen.runs) == len(listed) - len(listed) // 2
    assert chosen.left_out == {choosing.SILENT: len(listed) // 2}
