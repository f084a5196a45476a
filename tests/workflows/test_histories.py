"""Every recorded history replays with today's code and the worker's own runner."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, WorkflowReplayResult

from activities.worker import WORKFLOWS, workflow_runner
from tests.workflows.classes import AtOnce
from tests.workflows.record_histories import FOLDER, SHAPES
from workflows.contract import ADVANCE_STAGE


async def replay(history: str) -> WorkflowReplayResult:
    replayer = Replayer(workflows=[*WORKFLOWS, AtOnce], workflow_runner=workflow_runner())
    return await replayer.replay_workflow(WorkflowHistory.from_json("recorded", history))


def test_every_shape_is_recorded() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(SHAPES)


@pytest.mark.parametrize("name", sorted(name for name in SHAPES if name.startswith("stuck-")))
async def test_a_history_that_was_stuck_replays(name: str) -> None:
    """The others replay in `test_recorded`, which also compares what they ask for."""
    assert (await replay((FOLDER / f"{name}.json").read_text())).replay_failure is None


async def test_a_history_that_goes_another_way_does_not_replay() -> None:
    """The check itself: without its signals a history asks for other commands."""
    history = (FOLDER / "completed.json").read_text().replace(ADVANCE_STAGE, "renamed")
    with pytest.raises(Exception, match=r"(?i)nondeterminism"):
        await replay(history)
