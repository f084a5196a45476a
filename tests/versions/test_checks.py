"""The checks themselves: each reports the fault that it is for, and nothing in sound runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import Claims
from receiver.deliveries.delivery import Delivery, Fate
from tests.parts.polling import until
from tests.support import Handle, ScriptedPartner, call_back, count_events, stage, start, waiting, working
from tests.versions.checks import (
    answered_differently,
    doubled,
    failed_tasks,
    lost,
    settled_otherwise,
    unreplayable,
)
from tests.versions.partner import Kind, Sent
from tests.versions.patched import PatchedPipeline
from tests.versions.trees import NoSuchVersion, Tree, new_tree, old_tree
from tests.workflows.record_histories import FOLDER
from workflows.contract import Answer

pytestmark = pytest.mark.versions

FAILED = "workflow_task_failed_event_attributes"
CLAIMS = Claims("completed", "chain", 1, 1, "sandbox", 1_790_000_000, 4_000_000_000)
FIRST = Answer("succeeded", data={"found": 1})


def recorded(name: str) -> dict[str, list[WorkflowHistory]]:
    return {name: [WorkflowHistory.from_json(name, (FOLDER / f"{name}.json").read_text())]}


def sent(
    answer: Answer = FIRST, *, status: int = 202, at: float = 1.0, kind: Kind = "callback", version: str = "old"
) -> Sent:
    return Sent(CLAIMS, answer, kind, content=str(answer), status=status, at=at, door="", version=version)


@asynccontextmanager
async def rolled_back(client: Client) -> AsyncIterator[Handle]:
    """A run that began under a version that marks it, and goes on under this one."""
    partner = ScriptedPartner()
    async with working(client, partner, [PatchedPipeline]):
        handle = await start(client, stage(1))
        await waiting(handle)
    async with working(client, partner):
        await call_back(handle, partner.calls[0])
        yield handle


async def test_a_patch_that_the_old_version_lacks_is_seen(real: WorkflowEnvironment, tmp_path: Path) -> None:
    async with rolled_back(real.client) as handle:

        async def has_failed() -> int:
            return await count_events(handle, FAILED)

        await until(has_failed, "a failed workflow task")
        chains = {"run": [await handle.fetch_history()]}
    [failed] = failed_tasks(chains)
    assert "ondetermin" in failed
    [unreplayed] = unreplayable(chains, [new_tree()], tmp_path)
    assert unreplayed.startswith("replayed by new: run.1: ")


def test_sound_histories_replay_and_have_no_failed_task(tmp_path: Path) -> None:
    chains = recorded("completed") | recorded("called-again")
    assert [*failed_tasks(chains), *unreplayable(chains, [new_tree()], tmp_path), *doubled(chains)] == []


def test_an_accepted_callback_that_no_history_has_is_lost() -> None:
    chains = recorded("completed")
    assert lost([sent()], chains) == []
    [fault] = lost([sent(), sent(Answer("succeeded", data={"found": 9}))], chains)
    assert '"found": 9' in fault
    assert lost([sent(Answer("succeeded", data={"found": 9}), status=503)], chains) == []


def test_the_same_success_of_another_attempt_is_not_lost() -> None:
    chains = recorded("completed")
    other = replace(sent(), claims=replace(CLAIMS, attempt=CLAIMS.attempt + 1))
    assert lost([other], chains) == []
    failure = replace(other, answer=Answer("failed"))
    assert len(lost([failure], chains)) == 1


@pytest.mark.parametrize(("fate", "seconds", "faults"), [("refused", 1, 0), ("refused", -1, 1), ("taken", 1, 1)])
def test_a_callback_refused_after_its_runs_end_is_not_lost(fate: str, seconds: int, faults: int) -> None:
    chains = recorded("completed")
    at = chains["completed"][0].events[-1].event_time.seconds + 0.5 + seconds
    digest = "d" * 64
    late = replace(sent(Answer("succeeded", data={"found": 9})), content=f"completed/1//{digest[:16]}")
    request = Delivery("01", 1.0, "POST", "/callbacks/", (), b"", 0, digest)
    kept = replace(request, workflow_id="completed", stage=1, attempt=1, fate=Fate(fate), fate_at=at)
    assert len(lost([late], chains, [kept])) == faults


def test_two_equal_progress_callbacks_are_two_signals() -> None:
    chains = {"completed": recorded("duplicates-and-progress")["duplicates-and-progress"]}
    once, twice = sent(Answer("progress")), replace(sent(Answer("progress")), content="another")
    assert lost([once], chains) == []
    assert len(lost([once, twice], chains)) == 1


def test_one_result_in_two_signals_is_doubled() -> None:
    [fault] = doubled(recorded("duplicates-and-progress"))
    assert "is 2 signals" in fault
    assert doubled(recorded("duplicates-and-progress"), most=2) == []


@pytest.mark.parametrize(
    ("later", "faults"),
    [
        (sent(at=2.0, kind="again"), 0),
        (sent(status=409, at=2.0, kind="again"), 1),
        (sent(status=503, at=2.0, kind="again"), 0),
        (sent(status=410, at=2.0, kind="again"), 1),
        (sent(status=409, at=2.0, kind="rewritten"), 0),
        (sent(status=404, at=2.0, kind="rewritten"), 1),
    ],
)
def test_another_answer_to_the_same_content_is_a_fault(later: Sent, faults: int) -> None:
    assert len(answered_differently([later, sent()])) == faults


@pytest.mark.parametrize(("status", "faults"), [(410, 0), (409, 1)])
def test_a_roll_back_may_forget_by_which_id_a_run_knew_a_result(status: int, faults: int) -> None:
    again = sent(status=status, at=2.0, kind="again", version="old")
    assert len(answered_differently([sent(version="new"), again])) == faults


def test_a_stage_that_is_settled_otherwise_later_is_a_fault() -> None:
    settled = {"number": 1, "outcome": "succeeded", "cause": "callback", "settled_at": 1.0, "code": "", "message": ""}

    def progress(**changes: Any) -> dict[str, Any]:
        return {"run": {"stages": [{**settled, **changes}]}}

    assert settled_otherwise(progress(), progress()) == []
    assert settled_otherwise(progress(outcome=None), progress()) == []
    assert len(settled_otherwise(progress(), progress(settled_at=2.0))) == 1
    assert len(settled_otherwise(progress(), progress(outcome=None))) == 1


@pytest.mark.parametrize("revision", ["", "no-such-tag", "--help"])
def test_an_old_version_that_the_clone_lacks_is_named(revision: str, tmp_path: Path) -> None:
    with pytest.raises(NoSuchVersion, match="make versions OLD=COMMIT"):
        old_tree(revision, tmp_path)


def test_a_tree_that_cannot_replay_says_so(tmp_path: Path) -> None:
    """A script that fails is no replay without faults."""
    broken = Tree("old", tmp_path, new_tree().python)
    (tmp_path / "completed.json").write_text("{")
    with pytest.raises(AssertionError):
        broken.replay_failures(tmp_path)
