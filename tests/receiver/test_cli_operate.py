"""`pipeline extend`, `call-again`, `succeed`, `skip` and `fail` on the real server, and what else comes meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from temporalio.testing import WorkflowEnvironment

from activities import operations
from activities.runs import Runs
from receiver.cli.pipeline import actors, pipeline
from receiver.cli.pipeline.actors import os_user
from receiver.cli.pipeline.operating import operate_stage
from tests.commands import Done, command
from tests.parts.patience import NO_WORKER
from tests.parts.told import told
from tests.support import (
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    failure_of,
    progress_of,
    result_of,
    stage,
    start,
    until,
    until_event,
    waiting,
    working,
)
from tests.workflows.classes import BeforeCommands, Unstaged
from workflows.commands import LONGEST_COMMAND_NAME
from workflows.contract import OPERATE, Answer, Command, Progress
from workflows.stage_record import LONGEST_TEXT

pytestmark = pytest.mark.system

WHY = ("--reason", "as agreed")
ACCEPTED = "workflow_execution_update_accepted_event_attributes"


async def order(env: WorkflowEnvironment, action: str, number: int, *more: str, given: bytes = b"") -> Done:
    """Command the stage of `run` as `ada`."""
    return await told(env, "pipeline", action, "run", str(number), *more, *WHY, "--actor", "ada", given=given)


async def length_of(handle: Handle) -> int:
    return len([None async for _ in handle.fetch_history_events()])


class Gate:
    """Holds a command back between its question and its update."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._asked, self._open = threading.Event(), threading.Event()
        ask = Runs.progress

        async def progress(runs: Runs, workflow_id: str) -> Progress:
            answer = await ask(runs, workflow_id)
            self._asked.set()
            await asyncio.to_thread(self._open.wait, 3 * SOON)
            return answer

        monkeypatch.setattr(Runs, "progress", progress)
        monkeypatch.setattr(operations, "APPLIED_WITHIN", timedelta(seconds=3))

    async def asked(self) -> None:
        assert await asyncio.to_thread(self._asked.wait, 3 * SOON)

    def open(self) -> None:
        self._open.set()


@asynccontextmanager
async def ordered_without_a_worker(
    env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, partner: ScriptedPartner, *words: str
) -> AsyncIterator[tuple[Handle, Gate, asyncio.Task[Done]]]:
    """A run that waits in stage 1, and a command that has asked it. No worker is left to take the update."""
    gate = Gate(monkeypatch)
    async with working(env.client, partner):
        handle = await start(env.client, stage(1), stage(2))
        await waiting(handle)
        sending = asyncio.create_task(order(env, words[0], 1, *words[1:]))
        await gate.asked()
    try:
        yield handle, gate, sending
    finally:
        gate.open()
        await sending


# --- what each does


async def test_each_command_is_carried_out_and_told(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    declined = Answer("failed", code="declined", message="no such account")
    async with working(real.client, partner):
        stages = [stage(number, on_failure="escalate") for number in (1, 2, 3)]
        handle = await start(real.client, *stages)
        before = (await waiting(handle)).deadline or 0.0
        extended = await order(real, "extend", 1, "2h")
        assert (await waiting(handle)).deadline == before + 7200
        succeeded = await order(real, "succeed", 1, "--data", "-", given=b'{"account_id": "acc-1"}')
        await waiting(handle, 2)
        await call_back(handle, partner.calls[-1], declined)
        await until(handle, 2, lambda known: known.state == "needs_person")
        shown = await told(real, "pipeline", "show", "run")
        called = await order(real, "call-again", 2)
        await waiting(handle, 2, attempt=2)
        skipped = await order(real, "skip", 2)
        await waiting(handle, 3)
        failed = await order(real, "fail", 3, "--yes")
        assert "as agreed" in (await failure_of(handle)).message
        ended = await told(real, "pipeline", "show", "run")
    for done, what in (
        (extended, "stage 1 of run: extend by 2 hours, by ada, at 20"),
        (succeeded, "stage 1 of run: succeed, by ada, at 20"),
        (called, "stage 2 of run: call-again, by ada, at 20"),
        (skipped, "stage 2 of run: skip, by ada, at 20"),
        (failed, "stage 3 of run: fail, by ada, at 20"),
    ):
        assert (done.code, len(done.out.split())) == (0, 1), done.err
        assert done.err.startswith(what)
    assert "  account_id: acc-1" in shown.out.splitlines()
    assert "; it answered `declined: no such account`; waits for a person until " in shown.out
    assert "settle it with `stagehook pipeline succeed run 2 --reason ...`" in shown.out
    assert "; an operator skipped it at " in ended.out
    assert (
        "`stagehook pipeline resume run` goes on from the stage that failed, or from a STAGE that you name" in ended.out
    )


async def test_show_has_the_outcomes_with_their_data_in_json(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        await order(real, "succeed", 1, "--data", '{"n": 1}')
        shown = json.loads((await told(real, "pipeline", "show", "run", "--json")).out)
    assert {name: outcome["data"] for name, outcome in shown["outcomes"].items()} == {"step-1": {"n": 1}}


async def test_the_actor_is_the_os_user_unless_said(real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(real.client, ScriptedPartner()):
        await waiting(await start(real.client, stage(1)))
        done = await told(real, "pipeline", "skip", "run", "1", *WHY)
    assert f"skip, by {os_user()}, at" in done.err
    monkeypatch.setattr("getpass.getuser", Mock(side_effect=KeyError))
    assert os_user() == "unknown"


# --- refusals


async def test_a_refused_command_leaves_no_event(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        before = await length_of(handle)
        too_long = await order(real, "extend", 1, "9999d")
        not_called = await order(real, "call-again", 2)
        missing = await order(real, "skip", 7)
        assert await length_of(handle) == before
    assert (too_long.code, not_called.code, missing.code) == (1, 1, 4)
    assert "because the callback URL of call 1 expires: extend by at most" in too_long.err
    assert not_called.err.splitlines() == [
        "error: stage 2 was not called yet: its first call comes with its turn",
        "  try: `stagehook pipeline show` tells what the stage waits for",
    ]
    assert "the run run has stages 1 to 2, not 7" in missing.err
    assert (too_long.out, not_called.out, missing.out) == ("", "", "")


async def test_a_run_that_has_ended_or_never_began_takes_no_command(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        await handle.terminate()
        ended = await order(real, "skip", 1)
        asked = await order(real, "skip", 1, "--id", "never-sent")
    none = await told(real, "pipeline", "skip", "none", "1", *WHY)
    assert (ended.code, asked.code, none.code) == (1, 1, 4)
    assert "the run run has ended: terminated" in ended.err
    assert "the run run has ended: terminated" in asked.err


async def test_a_worker_or_class_without_commands_is_told(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner(), [BeforeCommands, Unstaged]):
        await start(real.client, stage(1))
        await real.client.start_workflow(Unstaged.run, id="other", task_queue="tests")
        old = await order(real, "skip", 1)
        other = await told(real, "pipeline", "skip", "other", "1", *WHY)
        shown = json.loads((await told(real, "pipeline", "show", "run", "--json")).out)
    assert (old.code, other.code) == (1, 1)
    assert old.err.splitlines()[0] == "error: the worker of the run run takes no commands"
    assert "deploy this version's worker" in old.err
    assert "which has no `progress` query" in other.err
    assert (shown["progress"]["pipeline"], shown["outcomes"]) == ("testing", None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["skip", "run", "1"], "reason"),
        (["skip", "run", "0", *WHY], "0"),
        (["extend", "run", "1", *WHY], "DURATION"),
        (["extend", "run", "1", "3x", *WHY], "invalid duration '3x': use a number and one of s, m, h, d, w, such as"),
        (["succeed", "run", "1", *WHY, "--data", "[]"], "--data is not a JSON object"),
        (["succeed", "run", "1", *WHY, "--data", json.dumps({"x": "y" * 33_000})], "more than 32768"),
    ],
)
def test_a_command_that_cannot_be_meant_is_a_usage_error(words: list[str], says: str) -> None:
    done = command("pipeline", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err.splitlines()[0]


# --- races


async def test_without_a_worker_nothing_is_sent(real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.runs.WORKER_ANSWERS_WITHIN", NO_WORKER)
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        before = await length_of(handle)
    done = await order(real, "skip", 1)
    async with working(real.client, ScriptedPartner()):
        # Temporal would have given the worker the command by now, before the query.
        assert (await progress_of(handle)).stages[0].state == "waiting"
        assert await length_of(handle) == before
    assert (done.code, done.out) == (7, "")
    assert done.err.splitlines() == [
        "error: no worker answers for the run run, so nothing was sent",
        "  try: start a worker with `stagehook worker`, then run it again",
    ]


async def test_a_worker_that_stops_before_the_update_leaves_it_unsure(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is carried out when a worker comes; the same id tells, and acts no second time."""
    partner = ScriptedPartner()
    words = ("extend", "1m", "--id", "c-1")
    async with ordered_without_a_worker(real, monkeypatch, partner, *words) as (handle, gate, sending):
        gate.open()
        done = await sending
        async with working(real.client, partner):
            await until_event(handle, ACCEPTED)
            extended = await waiting(handle)
            again = await order(real, "extend", 1, "1m", "--id", "c-1")
            assert (await waiting(handle)).deadline == extended.deadline
    assert (done.code, done.out) == (8, "")
    assert done.err.splitlines() == [
        "error: no answer to the command c-1 for run: it may still be carried out, when a worker comes",
        "  try: run it again with --id c-1 to find out",
    ]
    assert [entry.what for entry in extended.ledger] == ["extend by 1 minute, by ada"]
    assert (again.code, again.out) == (0, "c-1\n")


@pytest.mark.parametrize("first", ["callback", "command"])
async def test_a_callback_wins_over_a_command_in_one_task(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    partner = ScriptedPartner()
    words = ("succeed", "--id", "c-1")
    async with ordered_without_a_worker(real, monkeypatch, partner, *words) as (handle, gate, sending):
        if first == "callback":
            await call_back(handle, partner.calls[0])
        gate.open()
        assert (await sending).code == 8
        if first == "command":
            await call_back(handle, partner.calls[0])
        async with working(real.client, partner):
            await waiting(handle, 2)
            settled = (await progress_of(handle)).stages[0]
            found_out = await order(real, "succeed", 1, "--id", "c-1")
    # Temporal gives a worker the signals of a task before its updates.
    assert settled.cause == "callback"
    assert (found_out.code, "stage 1 is settled: succeeded by callback" in found_out.err) == (1, True)


async def test_a_command_for_an_earlier_call_is_refused(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operator calls the partner again between this operator's look and command."""
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        gate = Gate(monkeypatch)
        sending = asyncio.create_task(order(real, "fail", 1, "--yes"))
        await gate.asked()
        await handle.execute_update(OPERATE, Command("c-1", "call-again", 1, "ben", "as agreed"))
        await waiting(handle, attempt=2)
        gate.open()
        done = await sending
        state = (await progress_of(handle)).stages[0].state
    assert (done.code, state) == (1, "waiting")
    assert done.err.splitlines()[0] == "error: stage 1 is at call 2 by now, not 1: look at the run again"


async def test_of_two_operators_at_once_one_is_refused(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen the stage open."""
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        gate = Gate(monkeypatch)
        sending = asyncio.create_task(order(real, "skip", 1))
        await gate.asked()
        await handle.execute_update(OPERATE, Command("c-1", "succeed", 1, "ben", "as agreed", attempt=1))
        gate.open()
        done = await sending
        await waiting(handle, 2)
        settled = (await progress_of(handle)).stages[0]
    assert (done.code, settled.outcome, settled.cause) == (1, "succeeded", "operator")
    assert done.err.splitlines()[0] == "error: stage 1 is settled: succeeded by operator"


async def test_an_id_acts_once_also_after_the_run_has_ended(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        before = (await waiting(handle)).deadline or 0.0
        first, again = [await order(real, "extend", 1, "1h", "--id", "c-1") for _ in range(2)]
        assert (await waiting(handle)).deadline == before + 3600
        other = await order(real, "skip", 1, "--id", "c-1")
        settled = await order(real, "succeed", 1, "--id", "c-2")
        await result_of(handle)
        found_out = await order(real, "succeed", 1, "--id", "c-2")
    assert (first.code, first) == (0, again)
    assert (other.code, other.out) == (1, "")
    assert "the id 'c-1' was used for another command (stage 1: extend by 1 hour, by ada)" in other.err
    assert (settled.code, settled) == (0, found_out)


async def test_an_interrupted_command_tells_how_to_find_out(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", real.client.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", real.client.namespace)
    gate = Gate(monkeypatch)
    monkeypatch.setattr(operations, "APPLIED_WITHIN", timedelta(seconds=3 * SOON))
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        skip = Command("c-1", "skip", 1, "ada", "as agreed")
        sending = asyncio.create_task(operate_stage("run", skip, repeated=False))
        await gate.asked()
    gate.open()
    await asyncio.sleep(0.5)  # it hears nothing of its update, whenever it is interrupted
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert "run it again with --id c-1 to find out" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("cancel", "run", "--yes"), ("advance", "run", "1")], ids=["cancel", "advance"])
@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--reason", "\udcff", "is not UTF-8"),
        ("--actor", "\udcff", "is not UTF-8"),
        ("--reason", "x" * 301, "it has 301 characters: use 0 to 300"),
        ("--actor", "x" * 101, "it has 101 characters: use 1 to 100"),
        ("--actor", " ", "it has 0 characters: use 1 to 100"),
    ],
)
def test_a_reason_that_no_run_can_keep_is_refused(words: tuple[str, ...], option: str, value: str, says: str) -> None:
    done = CliRunner().invoke(pipeline, [*words, option, value])
    assert (done.exit_code, says in done.output) == (2, True)


def test_the_command_line_knows_what_a_run_keeps() -> None:
    """It does not import the workflows for it."""
    assert (actors.LONGEST_ACTOR, actors.LONGEST_KEPT_REASON) == (LONGEST_COMMAND_NAME, LONGEST_TEXT)
