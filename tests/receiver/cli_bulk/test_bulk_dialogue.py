"""What a bulk command lists, asks and refuses, and what it does while a worker or the disk is away."""

from __future__ import annotations

import errno
import json
import os
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.finding import register_attributes
from receiver.cli.pipeline import pipeline
from receiver.cli.pipeline.bulk.state import StateFile
from receiver.cli.pipeline.filters import FILTER_NAMES
from tests.commands import command
from tests.local_stack import Local, eventually
from tests.parts.bulk_commands import REVIEWED, WHY, Listed, bulk, lines_of, state_of
from tests.parts.bulk_runs import begin_of, ledger_of
from tests.parts.patience import NO_WORKER
from tests.parts.terminals import answered
from tests.support import (
    ScriptedPartner,
    until,
    working,
)

pytestmark = pytest.mark.system


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
