"""What an error means for one of many runs, and how `pipeline bulk` then ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import AsyncMock, Mock, patch

import pytest
from temporalio.service import RPCError, RPCStatusCode

from activities.choosing import ChosenRun, ChosenStage
from activities.client import TemporalUnreachable
from activities.operations import CommandUnsure, NoCommands, RefusedByRun, WentOn
from activities.resets import CannotResume, ResumedBefore, SettledByHand
from activities.run_errors import NoSuchStage, QueryFailed, RunEnded, RunNotFound, WorkerAway
from activities.target import Target
from receiver.cli.pipeline.bulk import BulkAction, acting
from receiver.cli.pipeline.bulk.acting import Acting
from receiver.cli.pipeline.bulk.planning import BulkPlan
from receiver.cli.pipeline.bulk.running import MOST_UNREACHED, BulkWork
from receiver.cli.pipeline.bulk.state import BulkItem, BulkRequest, BulkResult, ResultWord
from receiver.cli.pipeline.bulk.telling import Report

ITEMS = [
    BulkItem(n, ChosenRun(f"run-{n}", "r", "p", "running", "c", [ChosenStage(1, "", "", "waiting", 1)])) for n in (1, 2)
]


def asking_for(action: BulkAction) -> BulkRequest:
    return BulkRequest(1, "abc", action, "why", "ada", {}, "", "a:1", "default", len(ITEMS))


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (WentOn("x"), "passed over"),
        (RunEnded("x"), "passed over"),
        (RunNotFound("x"), "passed over"),
        (RefusedByRun("x"), "failed"),
        (NoCommands("x"), "failed"),
        (NoSuchStage("x"), "failed"),
        (QueryFailed("x"), "failed"),
        (RPCError("x", RPCStatusCode.PERMISSION_DENIED, b""), "failed"),
        (TypeError("x"), "failed"),
        (CommandUnsure("x"), "unsure"),
        (WorkerAway("x"), "unreached"),
        (TemporalUnreachable("x"), "unreached"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_of_a_command_is_a_result(
    monkeypatch: pytest.MonkeyPatch, error: Exception, word: ResultWord
) -> None:
    monkeypatch.setattr(acting, "operate", AsyncMock(side_effect=error))
    result = await Acting(Mock(), asking_for("skip"), repeated=False).act(ITEMS[0])
    assert (result.item, result.result, result.why, bool(result.cause)) == (1, word, "x", True)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ResumedBefore("x"), "passed over"),
        (SettledByHand("x"), "failed"),
        (CannotResume("x"), "failed"),
        (TemporalUnreachable("x"), "unsure"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_request_to_resume_may_have_arrived(
    monkeypatch: pytest.MonkeyPatch, error: Exception, word: ResultWord
) -> None:
    monkeypatch.setattr(acting, "resume", AsyncMock(side_effect=error))
    assert (await Acting(Mock(), asking_for("resume"), repeated=False).act(ITEMS[0])).result == word


@pytest.mark.parametrize(
    ("words", "is_interrupted", "code"),
    [
        (["done", "passed over"], False, 0),
        (["done", "passed over"], True, 0),
        (["done"], True, 130),
        (["done"], False, 7),
        (["failed", "unreached"], False, 1),
        (["unsure", "unreached"], False, 7),
        (["done", "unsure"], False, 8),
    ],
)
def test_the_exit_code_follows_from_the_results(words: list[ResultWord], is_interrupted: bool, code: int) -> None:
    report = Report(BulkPlan(asking_for("skip"), Target("a:1"), ITEMS), Path("state"), as_json=False)
    for item, word in zip(ITEMS, words, strict=False):
        report.add(item, BulkResult(item.item, word, "", "", ""))
    assert report.exit_code(is_interrupted=is_interrupted) == code


@pytest.mark.parametrize(
    ("action", "repeated", "deadline"), [("extend", True, None), ("extend", False, 500.0), ("skip", True, 500.0)]
)
async def test_an_extension_that_may_have_been_made_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, action: BulkAction, *, repeated: bool, deadline: float | None
) -> None:
    """It has put off the deadline by which the stage was chosen; its id tells whether it was made."""
    operating = AsyncMock()
    monkeypatch.setattr(acting, "operate", operating)
    due = replace(asking_for(action), filters={"due": "2h"}, duration="1h")
    run = replace(ITEMS[0].run, stages=[replace(ITEMS[0].run.stages[0], deadline=500.0)])
    await Acting(Mock(), due, repeated=repeated).act(replace(ITEMS[0], run=run))
    assert operating.call_args.kwargs["seen"].deadline == deadline


@pytest.mark.parametrize(
    ("words", "acted_on"),
    [
        (["unreached", "done"] * MOST_UNREACHED, 2 * MOST_UNREACHED),
        (["unsure", "passed over"] * MOST_UNREACHED, 2 * MOST_UNREACHED),
        (["unreached"] * 100, MOST_UNREACHED),
    ],
    ids=["unreached among others", "unsure among others", "unreached in a row"],
)
async def test_only_runs_in_a_row_that_are_not_reached_stop_it(words: list[ResultWord], acted_on: int) -> None:
    results = [BulkResult(n, word, "", "", "") for n, word in enumerate(words, start=1)]
    one_by_one = Mock(act=AsyncMock(side_effect=results))
    file = Mock()
    with patch("receiver.cli.pipeline.bulk.running.ACTED_ON_AT_ONCE", 1):
        await BulkWork(one_by_one, file, Mock()).act_on_all([BulkItem(one.item, ITEMS[0].run) for one in results], 1e9)
    assert [call.args[0].item for call in file.record.call_args_list] == list(range(1, acted_on + 1))
