"""A bulk command that was stopped goes on from its state file: each action happens once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from receiver.cli.demo.processes import bare_environment
from receiver.cli.demo.stack import stagehook_command
from tests.local_stack import running as processes_running
from tests.parts.bulk_commands import WHY, bulk, failed_runs_of, lines_of, results_in, state_of, without_results
from tests.parts.bulk_runs import begin_of, ledger_of
from tests.support import (
    RUN_TIMEOUT,
    SOON,
    ScriptedPartner,
    progress_of,
    waiting,
)

pytestmark = pytest.mark.system


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
