"""Runs that change after a bulk command has listed them: the change is found, and nothing is done to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from tests.parts.bulk_commands import WHY, Listed, bulk, call_of, state_of, without_results
from tests.parts.bulk_runs import begin_of, begin_waiting, ledger_of
from tests.parts.told import told
from tests.support import (
    Handle,
    ScriptedPartner,
    call_back,
    failure_of,
    operate,
    progress_of,
    stage,
    until,
    waiting,
)
from workflows.contract import Answer

pytestmark = pytest.mark.system


async def test_what_went_on_since_it_was_listed_is_passed_over(
    many: WorkflowEnvironment, partner: ScriptedPartner, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled, again, ended, replaced, left = await begin_of(many, "bank", 5)
    listed = Listed(monkeypatch)
    sending = bulk(many, "skip", "--partner", "bank", *WHY, "--yes")
    async with listed.before_acting(sending) as task:
        await call_back(settled, call_of(partner, settled))
        await waiting(settled, 2)
        await operate(again, "call-again")
        await waiting(again, attempt=2)
        await ended.terminate()
        await replaced.terminate()
        other = await begin_waiting(many, replaced.id, stage(1, partner="bank"))
    done = await task
    assert done.code == 0, done.err
    assert "1 done" in done.err
    assert "4 passed over" in done.err
    assert f"passed over: {settled.id}: stage 1 is settled: succeeded by callback" in done.err
    assert f"passed over: {again.id}: stage 1 is at call 2 by now, not 1" in done.err
    assert f"passed over: {ended.id}: the run {ended.id} has ended: terminated" in done.err
    assert f"passed over: {replaced.id}: another run has this id by now" in done.err
    assert "  passed over: 3, the stage has gone on, such as " in done.err
    assert (await waiting(settled, 2)).ledger == []
    assert (await waiting(again, attempt=2)).state == (await waiting(other)).state == "waiting"
    assert (await until(left, 1, lambda one: bool(one.outcome))).outcome == "skipped"


async def test_a_deadline_that_was_put_off_since_no_longer_matches(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operator gave the stage more time, also while the command was stopped."""
    first, second, third = await begin_of(many, "bank", 3)
    listed = Listed(monkeypatch)
    async with listed.before_acting(bulk(many, "skip", "--due", "2h", *WHY, "--yes")) as task:
        await operate(first, "extend", seconds=3600.0)
    assert (await task).code == 0
    assert "passed over: bank-1: the deadline of stage 1 was put off since" in (await task).err
    assert (await waiting(first)).state == "waiting"
    assert [(await progress_of(one)).stages[0].outcome for one in (second, third)] == ["skipped"] * 2
    without_results(state_of(folder))
    done = await bulk(many, "skip", "--resume", str(state_of(folder)), "--yes")
    assert "passed over: bank-1: the deadline of stage 1 was put off since" in done.err
    assert "2 done" in done.err


async def test_a_resumed_run_is_not_the_one_that_was_listed(
    many: WorkflowEnvironment, partner: ScriptedPartner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stage is at the first call again, in the same chain."""
    [handle] = await begin_of(many, "bank", 1)
    listed = Listed(monkeypatch)
    async with listed.before_acting(bulk(many, "extend", "1h", "--partner", "bank", *WHY, "--yes")) as task:
        await call_back(handle, call_of(partner, handle), Answer("failed", code="declined"))
        await failure_of(handle)
        await told(many, "pipeline", "resume", handle.id)
        latest: Handle = many.client.get_workflow_handle(handle.id)
        await waiting(latest)
    assert "passed over: bank-1: stage 1 was called again since" in (await task).err
    assert "ada" not in str(await ledger_of(latest))


async def test_a_refusal_by_the_run_is_a_failure_with_its_line(
    many: WorkflowEnvironment, partner: ScriptedPartner
) -> None:
    await begin_of(many, "bank", 2)
    done = await bulk(many, "extend", "9999d", "--partner", "bank", *WHY, "--yes")
    assert done.code == 1
    assert "failed: bank-1: cannot extend by" in done.err
    assert "2 failed" in done.err
    assert "  failed: 2, the run refused it, such as bank-" in done.err
    assert "--resume" not in done.err


async def test_cancel_passes_over_a_run_whose_stage_went_on(
    many: WorkflowEnvironment, partner: ScriptedPartner, monkeypatch: pytest.MonkeyPatch
) -> None:
    [handle] = await begin_of(many, "bank", 1)
    listed = Listed(monkeypatch)
    async with listed.before_acting(bulk(many, "cancel", "--partner", "bank", *WHY, "--yes")) as task:
        await call_back(handle, call_of(partner, handle))
        await waiting(handle, 2)
    assert "passed over: bank-1: stage 1 is settled: succeeded by callback" in (await task).err
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
