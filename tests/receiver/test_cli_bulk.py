"""`pipeline bulk` on the real server: which runs it acts on, each once, and what it says of the others."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from activities.finding import RunFilter, register_attributes
from activities.runs import Runs
from activities.worker import WORKFLOWS
from receiver.cli.demo.processes import bare_environment
from receiver.cli.demo.stack import stagehook_command
from receiver.cli.pipeline import pipeline
from receiver.cli.pipeline.bulk import running, telling
from receiver.cli.pipeline.bulk.planning import BulkPlan
from receiver.cli.pipeline.bulk.state import StateFile
from receiver.cli.pipeline.filters import FILTER_NAMES
from tests.commands import Done, command
from tests.local_stack import Local, eventually
from tests.local_stack import running as processes_running
from tests.parts.bulk_runs import begin_of, begin_waiting, ledger_of, until_listed
from tests.parts.patience import NO_WORKER
from tests.parts.terminals import answered
from tests.parts.told import told
from tests.support import (
    QUEUE,
    RUN_TIMEOUT,
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    failure_of,
    operate,
    progress_of,
    stage,
    until,
    waiting,
    working,
)
from tests.support import pipeline as definition_of
from tests.workflows.classes import AtOnce
from workflows.contract import Answer, StageCall
from workflows.pipelines import REVIEWED_ONBOARDING

pytestmark = pytest.mark.system

REVIEWED = REVIEWED_ONBOARDING.name
WHY = ("--reason", "the bank is down", "--actor", "ada")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State files go into the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
async def many(real: WorkflowEnvironment) -> WorkflowEnvironment:
    """The real server, with a namespace that has the search attributes."""
    await register_attributes(real.client)
    return real


@pytest.fixture
async def partner(many: WorkflowEnvironment) -> AsyncIterator[ScriptedPartner]:
    partner = ScriptedPartner()
    async with working(many.client, partner, [*WORKFLOWS, AtOnce]):
        yield partner


async def bulk(env: WorkflowEnvironment, *words: str, **more: Any) -> Done:
    return await told(env, "pipeline", "bulk", *words, **more)


def state_of(folder: Path) -> Path:
    [file] = folder.glob("*.jsonl")
    return file


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def results_in(folder: Path) -> int:
    """How many results the state file has, if there is one."""
    return sum(file.read_text().count('"result"') for file in folder.glob("*.jsonl"))


def without_results(file: Path, kept: int = 0) -> None:
    """As if the process had been killed before it wrote more results than this."""
    lines = file.read_text().splitlines(keepends=True)
    plan = [line for line in lines if '"result"' not in line]
    file.write_text("".join([*plan, *[line for line in lines if '"result"' in line][:kept]]))


# --- what each does


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


# --- what went on meanwhile


class Listed:
    """Holds a command back between its list and its first action."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._listed, self._open = threading.Event(), threading.Event()

        def tell(plan: BulkPlan, *, as_json: bool) -> None:
            telling.tell_plan(plan, as_json=as_json)
            self._listed.set()
            self._open.wait(3 * SOON)

        monkeypatch.setattr(running, "tell_plan", tell)

    @asynccontextmanager
    async def before_acting(self, sending: Awaitable[Done]) -> AsyncIterator[asyncio.Task[Done]]:
        """What the block does comes between the list and the actions of the command."""
        task = asyncio.ensure_future(sending)
        assert await asyncio.to_thread(self._listed.wait, 3 * SOON)
        try:
            yield task
        finally:
            self._open.set()
            await task


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


# --- going on


async def test_what_was_done_and_not_written_acts_only_once(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path
) -> None:
    """As after a kill between an action and its result."""
    handles = await begin_of(many, "bank", 3)
    before = (await waiting(handles[0])).deadline or 0.0
    await bulk(many, "extend", "1h", "--partner", "bank", *WHY, "--yes")
    file = state_of(folder)
    without_results(file, kept=1)
    with file.open("a") as stream:
        stream.write('{"item": 2, "resu')
    done = await bulk(many, "extend", "--resume", str(file), "--yes", "--actor", "ada")
    assert (done.code, done.err.splitlines()[-1]) == (0, "2 done"), done.err
    assert [await ledger_of(handle) for handle in handles] == [[("extend by 1 hour, by ada", "the bank is down")]] * 3
    assert (await waiting(handles[0])).deadline == before + 3600
    assert sorted(line["item"] for line in lines_of(file) if "result" in line) == [1, 2, 3]
    nothing = await bulk(many, "extend", "--resume", str(file), "--yes")
    assert (nothing.code, nothing.err) == (0, f"{file} has nothing left to do\n")


@pytest.mark.parametrize("action", ["skip", "fail", "call-again", "cancel"])
async def test_each_action_that_arrived_is_found_done(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path, action: str
) -> None:
    handles = await begin_of(many, "bank", 2)
    assert (await bulk(many, action, "--partner", "bank", *WHY, "--yes")).code == 0
    if action == "cancel":
        await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
    without_results(state_of(folder))
    done = await bulk(many, action, "--resume", str(state_of(folder)), "--yes")
    assert (done.code, done.err.splitlines()[-1]) == (0, "2 done"), done.err


async def test_a_resume_that_arrived_is_found_done(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path
) -> None:
    handles = await failed_runs_of(many, partner, 2)
    assert (await bulk(many, "resume", "--status", "failed", *WHY, "--yes")).code == 0
    for handle in handles:
        await waiting(many.client.get_workflow_handle(handle.id))
    calls = len(partner.calls)
    without_results(state_of(folder))
    done = await bulk(many, "resume", "--resume", str(state_of(folder)), "--yes")
    assert (done.code, done.err.splitlines()[-1]) == (0, "2 done"), done.err
    assert len(partner.calls) == calls


async def test_another_state_file_is_refused(many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path) -> None:
    await begin_of(many, "bank", 1)
    await bulk(many, "extend", "1h", "--partner", "bank", *WHY, "--yes", "--state-file", "mine.jsonl")
    without_results(folder / "mine.jsonl")
    go_on = ("--resume", "mine.jsonl", "--yes")
    for words, says in (
        (("skip",), "was begun with the action 'extend', not 'skip'"),
        (("extend", "2h"), "was begun with the duration '1h', not '2h'"),
        (("extend", "--reason", "other"), "was begun with the reason 'the bank is down', not 'other'"),
        (("extend", "--actor", "ben"), "was begun with the actor 'ada', not 'ben'"),
        (("extend", "--partner", "post"), "was begun with the filters --partner bank, not --partner post"),
    ):
        done = await bulk(many, *words, *go_on)
        assert (done.code, done.out) == (2, "")
        assert says in done.err.splitlines()[0]
    file = folder / "mine.jsonl"
    file.write_text(file.read_text().replace(many.client.namespace, "production"))
    elsewhere = await bulk(many, "extend", *go_on)
    file.write_text(file.read_text().replace("production", many.client.namespace).replace("127.0.0.1:", "a-host:"))
    through = await bulk(many, "extend", *go_on, "--dry-run")
    assert "  it was begun with Temporal at a-host:" in through.err
    assert (elsewhere.code, "is for the namespace production at " in elsewhere.err) == (2, True)
    assert await ledger_of(many.client.get_workflow_handle("bank-1")) == [
        ("extend by 1 hour, by ada", "the bank is down")
    ]


@contextmanager
def alone(env: WorkflowEnvironment, folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own, which writes to `folder/log`."""
    address = env.client.service_client.config.target_host
    variables = {**bare_environment(), "TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": env.client.namespace}
    with processes_running(stagehook_command("pipeline", "bulk", *words), variables, folder / "log") as process:
        yield process


async def until_results(process: subprocess.Popen[bytes], folder: Path, count: int) -> None:
    async with asyncio.timeout(3 * RUN_TIMEOUT):
        while results_in(folder) < count:
            assert process.poll() is None, (folder / "log").read_text()
            await asyncio.sleep(0.02)


async def test_a_killed_command_goes_on_and_acts_on_each_run_once(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path
) -> None:
    of_bank, of_post = await begin_of(many, "bank", 20), await begin_of(many, "post", 20)
    words = ("extend", "1h", "--partner", "bank", *WHY, "--yes", "--rate", "10")
    with alone(many, folder, *words) as process:
        await until_results(process, folder, 5)
    done_before = results_in(folder)
    assert 5 <= done_before < 20
    done = await bulk(many, "extend", "--resume", str(state_of(folder)), "--yes", "--rate", "100")
    assert (done.code, done.err.splitlines()[-1]) == (0, f"{20 - done_before} done"), done.err
    extended = [("extend by 1 hour, by ada", "the bank is down")]
    assert [await ledger_of(handle) for handle in of_bank] == [extended] * 20
    assert [await ledger_of(handle) for handle in of_post] == [[]] * 20


async def test_ctrl_c_begins_no_other_action_and_says_how_to_go_on(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path
) -> None:
    handles = await begin_of(many, "bank", 6)
    with alone(many, folder, "skip", "--partner", "bank", *WHY, "--yes", "--rate", "0.5") as process:
        await until_results(process, folder, 1)
        process.send_signal(signal.SIGINT)
        code = await asyncio.to_thread(process.wait, 3 * SOON)
    printed, count = (folder / "log").read_text(), results_in(folder)
    assert code == 130, printed
    assert "stopping: no other action begins, and " in printed
    assert f"{count} done, {6 - count} not begun" in printed
    assert f"{6 - count} left: go on with `stagehook pipeline bulk skip --resume {state_of(folder).name}`" in printed
    outcomes = [(await progress_of(handle)).stages[0].outcome for handle in handles]
    assert outcomes.count("skipped") == count


# --- lists, questions, and what is away


async def test_a_dry_run_lists_and_writes_nothing(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path
) -> None:
    handles = await begin_of(many, "bank", 12)
    done = await bulk(many, "skip", "--partner", "bank", *WHY, "--dry-run", "--json", "--limit", "11")
    assert done.code == 0
    assert [json.loads(line)["item"] for line in done.out.splitlines()] == list(range(1, 12))
    lines = done.err.splitlines()
    assert "the first of them:" in lines
    assert "  and 1 more" in lines
    assert lines[-1] == "these are of the latest 11 of 12 runs: --limit takes more"
    assert os.listdir(folder) == []
    assert await ledger_of(handles[0]) == []


def test_it_asks_on_a_terminal_and_refuses_without(local: Local, folder: Path) -> None:
    given = json.dumps({"full_name": "play:never", "date_of_birth": "1815-12-10"})
    assert local.command("pipeline", "start", REVIEWED, "--id", "asked", "--input", given).returncode == 0
    of_it = ("--pipeline", REVIEWED, "--stage", "identity-check")
    eventually(lambda: b'"asked"' in local.command("pipeline", "list", *of_it, "--json").stdout)
    words = ("pipeline", "bulk", "extend", "1m", *of_it, *WHY)
    refused = local.command(*words)
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (2, b"  try: say --yes")
    declined = answered(b"n\n", *words, **local.stack.environment)
    assert (declined.code, declined.err.endswith("nothing was done\n")) == (130, True)
    assert os.listdir(folder) == []
    agreed = answered(b"y\n", *words, **local.stack.environment)
    assert agreed.code == 0, agreed.err
    assert agreed.err.splitlines()[-1].endswith(" done")
    assert "the bank is down" in state_of(folder).read_text()


async def test_without_a_worker_nothing_is_marked_failed(
    many: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr("activities.runs.WORKER_ANSWERS_WITHIN", NO_WORKER)
    listed = Listed(monkeypatch)
    sending = bulk(many, "skip", "--partner", "bank", *WHY, "--yes", "--rate", "1000")
    async with AsyncExitStack() as stack, working(many.client, ScriptedPartner()):
        handles = await begin_of(many, "bank", 8)
        task = await stack.enter_async_context(listed.before_acting(sending))
    done = await task
    assert done.code == 7, done.err
    assert "no worker answers for the run bank-" in done.err
    assert "stopping: 5 runs in a row could not be reached" in done.err
    assert "8 left: go on with `stagehook pipeline bulk skip --resume bulk-skip-" in done.err
    assert {line["result"] for line in lines_of(state_of(folder)) if "result" in line} == {"unreached"}
    async with working(many.client, ScriptedPartner()):
        again = await bulk(many, "skip", "--resume", str(state_of(folder)), "--yes")
        assert (again.code, again.err.splitlines()[-1]) == (0, "8 done"), again.err
        assert {(await until(one, 1, lambda one: bool(one.outcome))).outcome for one in handles} == {"skipped"}


async def test_runs_that_no_worker_answers_for_are_not_chosen(
    many: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.runs.WORKER_ANSWERS_WITHIN", NO_WORKER)
    async with working(many.client, ScriptedPartner()):
        await begin_of(many, "bank", 2)
    done = await bulk(many, "skip", "--partner", "bank", *WHY, "--yes")
    assert done.code == 4
    assert "no run matches (2 left out: no answer to the question what is waited for)" in done.err
    cancelled = await bulk(many, "cancel", "--status", "running", *WHY, "--yes")
    assert (cancelled.code, cancelled.err.splitlines()[-1]) == (0, "2 done")  # no worker is needed for that


async def test_when_many_in_a_row_are_silent_no_other_is_asked(
    many: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.runs.WORKER_ANSWERS_WITHIN", NO_WORKER)
    monkeypatch.setattr("activities.choosing.MOST_SILENT", 2)
    async with working(many.client, ScriptedPartner()):
        await begin_of(many, "bank", 3)
    done = await bulk(many, "skip", "--partner", "bank", *WHY, "--yes")
    assert (done.code, "no worker answers for the run bank-" in done.err) == (7, True)


async def test_a_full_disk_stops_it_and_loses_no_action(
    many: WorkflowEnvironment, partner: ScriptedPartner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles = await begin_of(many, "bank", 4)
    with monkeypatch.context() as patched:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        patched.setattr(StateFile, "record", Mock(side_effect=full))
        done = await bulk(many, "extend", "1h", "--partner", "bank", *WHY, "--yes", "--rate", "1")
    assert done.code == 1
    assert "error: the output cannot be written: No space left on device" in done.err
    assert "4 left: go on with `stagehook pipeline bulk extend --resume bulk-extend-" in done.err
    again = await bulk(many, "extend", "--resume", str(state_of(folder)), "--yes")
    assert (again.code, again.err.splitlines()[-1]) == (0, "4 done")
    extended = [("extend by 1 hour, by ada", "the bank is down")]
    assert [await ledger_of(handle) for handle in handles] == [extended] * 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["skip"], "say which runs, by one or more of --waiting, --needs-person"),
        (["skip", "--partner", "bank"], "say why, with --reason"),
        (["skip", "--partner", "bank", "--reason", " "], "say why, with --reason"),
        (["skip", "--partner", "bank", "--reason", "x" * 9999], "the command's reason has 9999 characters"),
        (["skip", "--partner", "bank", "--reason", "x", "--actor", " "], "the command's actor has 0 characters"),
        (["extend", "--partner", "bank", "--reason", "x"], "say by how much, with DURATION"),
        (["extend", "3x", "--partner", "bank", "--reason", "x"], "invalid duration '3x'"),
        (["extend", "0h", "--partner", "bank", "--reason", "x"], "invalid duration '0h': use more than 0"),
        (["skip", "--status", "failed", "--reason", "x"], "`skip` is for open runs"),
        (["skip", "--failed-with", "x", "--since", "1d", "--reason", "x"], "`skip` is for open runs"),
        (["resume", "--partner", "bank", "--reason", "x"], "filters of stages find open runs"),
        (["resume", "--since", "1d", "--reason", "x"], "say which ended runs"),
        (["resume", "--status", "completed", "--reason", "x"], "say which ended runs"),
        (["resume", "0", "--status", "failed", "--reason", "x"], "STAGE"),
        (["skip", "--partner", "bank", "--reason", "x", "--rate", "nan"], "nan is not a number"),
        (["skip", "--partner", "bank", "--reason", "x", "--limit", "0"], "--limit"),
        (["skip", "--partner", "bank", "--reason", "x", "--state-file", "."], "the file . is there already"),
        (["skip", "--resume", "none.jsonl"], "the state file none.jsonl cannot be read"),
        (["skip", "--resume", "/dev/zero"], "/dev/zero is not a state file"),
    ],
)
def test_a_bulk_command_that_cannot_be_meant_is_refused(words: list[str], says: str) -> None:
    done = command("pipeline", "bulk", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err.splitlines()[0]


async def test_no_match_and_no_attributes_are_told(real: WorkflowEnvironment) -> None:
    words = ("skip", "--partner", "bank", *WHY, "--yes")
    lacking = await bulk(real, *words)
    assert (lacking.code, "stagehook setup" in lacking.err) == (1, True)
    await register_attributes(real.client)
    none = await bulk(real, *words)
    assert (none.code, none.err.splitlines()[0]) == (4, "error: no run matches")


def test_the_filters_are_named_as_their_options_are() -> None:
    names = [param.name for param in pipeline.commands["count"].params if param.name != "as_json"]
    assert tuple(names) == FILTER_NAMES


def call_of(partner: ScriptedPartner, handle: Handle) -> StageCall:
    return next(call for call in partner.calls if call.workflow_id == handle.id)


async def failed_runs_of(env: WorkflowEnvironment, partner: ScriptedPartner, count: int) -> list[Handle]:
    """So many runs that failed because the bank declined."""
    handles = await begin_of(env, "bank", count)
    for handle in handles:
        await call_back(handle, call_of(partner, handle), Answer("failed", code="declined"))
        await failure_of(handle)
    await until_listed(env, RunFilter(status="failed"), count)
    return handles


async def side_by_side(env: WorkflowEnvironment) -> Handle:
    """A run whose stages of two partners wait at the same time."""
    stages = definition_of(stage(1, partner="bank"), stage(2, partner="post"), stage(3))
    begun = await Runs(env.client).start(
        stages, {}, task_queue=QUEUE, workflow_id="both", workflow_type=AtOnce.__name__
    )
    await waiting(begun, 1)
    await waiting(begun, 2)
    return begun


async def causes_of(handle: Handle) -> AsyncIterator[str]:
    """Why its cancellation was requested, by its history."""
    async for event in handle.fetch_history_events():
        if event.HasField("workflow_execution_cancel_requested_event_attributes"):
            yield event.workflow_execution_cancel_requested_event_attributes.cause
