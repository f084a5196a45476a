"""What each bulk command does to the stages or runs that it lists."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from activities.finding import RunFilter
from tests.parts.bulk_commands import WHY, bulk, causes_of, failed_runs_of, lines_of, side_by_side, state_of
from tests.parts.bulk_runs import begin_of, ledger_of, until_listed
from tests.parts.told import told
from tests.support import (
    ScriptedPartner,
    failure_of,
    progress_of,
    until,
    waiting,
)
from tests.workflows.classes import AtOnce

pytestmark = pytest.mark.system


async def test_only_the_stages_of_the_partner_are_extended(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path
) -> None:
    of_bank, of_post = await begin_of(many, "bank", 3), await begin_of(many, "post", 2)
    before = (await waiting(of_bank[0])).deadline or 0.0
    done = await bulk(many, "extend", "2h", "--partner", "bank", *WHY, "--yes")
    assert (done.code, done.out) == (0, ""), done.err
    assert done.err.splitlines()[-1] == "3 done"
    assert "extend by 2 hours: 3 stages of 3 runs, in Temporal at " in done.err
    assert "3  testing, stage 1 step-1, partner bank" in done.err
    assert (await waiting(of_bank[0])).deadline == before + 7200
    assert [await ledger_of(handle) for handle in of_bank] == [[("extend by 2 hours, by ada", "the bank is down")]] * 3
    assert [await ledger_of(handle) for handle in of_post] == [[]] * 2
    file = state_of(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    request, *rest = lines_of(file)
    assert (request["action"], request["duration"], request["filters"]) == ("extend", "2h", {"partner": "bank"})
    assert [line["item"] for line in rest[:3]] == [1, 2, 3]
    assert {line["run"]["workflow_id"] for line in rest[:3]} == {"bank-1", "bank-2", "bank-3"}
    assert sorted(line["item"] for line in rest[3:]) == [1, 2, 3]
    assert {line["result"] for line in rest[3:]} == {"done"}


async def test_skip_fail_and_call_again_act_like_the_single_commands(
    many: WorkflowEnvironment, partner: ScriptedPartner
) -> None:
    [skipped] = await begin_of(many, "a", 1)
    [failed] = await begin_of(many, "b", 1)
    [called] = await begin_of(many, "c", 1)
    assert (await bulk(many, "skip", "--partner", "a", *WHY, "--yes")).code == 0
    assert (await bulk(many, "fail", "--partner", "b", *WHY, "--yes")).code == 0
    assert (await bulk(many, "call-again", "--partner", "c", *WHY, "--yes")).code == 0
    assert (await until(skipped, 1, lambda one: one.state == "settled")).outcome == "skipped"
    assert "the bank is down" in (await failure_of(failed)).message
    await waiting(called, attempt=2)


async def test_of_two_open_stages_only_the_matching_one_is_meant(
    many: WorkflowEnvironment, partner: ScriptedPartner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter is about the stage, not about the run that has it."""
    monkeypatch.setattr("activities.finding.PIPELINE_TYPES", {AtOnce.__name__})
    handle = await side_by_side(many)
    await until_listed(many, RunFilter(partner="post"), 1)
    done = await bulk(many, "skip", "--partner", "post", "--json", *WHY, "--yes")
    assert [json.loads(line)["stages"] for line in done.out.splitlines()] == [[2]]
    states = {one.number: one.state for one in (await progress_of(handle)).stages}
    assert (states[1], states[2]) == ("waiting", "settled")
    none = await bulk(many, "skip", "--partner", "post", "--stage", "step-1", *WHY, "--yes")
    assert (none.code, none.out) == (4, "")


async def test_cancel_ends_the_matching_runs_and_says_why(many: WorkflowEnvironment, partner: ScriptedPartner) -> None:
    handles, others = await begin_of(many, "bank", 2), await begin_of(many, "post", 1)
    done = await bulk(many, "cancel", "--partner", "bank", *WHY, "--yes")
    assert (done.code, done.err.splitlines()[-1]) == (0, "2 done")
    for handle in handles:
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert [cause async for cause in causes_of(handle)] == ["cancelled by ada: the bank is down"]
    assert (await others[0].describe()).status is WorkflowExecutionStatus.RUNNING


async def test_resume_goes_on_with_runs_that_failed(many: WorkflowEnvironment, partner: ScriptedPartner) -> None:
    handles = await failed_runs_of(many, partner, 2)
    await told(many, "pipeline", "resume", handles[0].id)  # one by hand, so that it is not meant
    by_hand = many.client.get_workflow_handle(handles[0].id)
    await waiting(by_hand)
    done = await bulk(many, "resume", "--status", "failed", *WHY, "--yes")
    assert (done.code, done.err.splitlines()[-1]) == (0, "1 done"), done.err
    assert "left out: 1 run, resumed or started again since" in done.err
    await waiting(many.client.get_workflow_handle(handles[1].id))
    by_text = await bulk(many, "resume", "--failed-with", "declined", "--since", "1h", *WHY, "--yes")
    assert by_text.code == 4
    assert "no run matches (2 left out: resumed or started again since)" in by_text.err
