"""The state file of `pipeline bulk`: what is written, what is read again, and what is refused."""

from __future__ import annotations

import json
import stat
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from activities.choosing import ChosenRun, ChosenStage
from receiver.cli.errors import CommandError
from receiver.cli.pipeline.bulk.state import BulkItem, BulkRequest, BulkResult, BulkState, StateFile, read_state

HOSTILE = "\x1b[2J\n\u202e'\"{}"
STAGE = ChosenStage(2, HOSTILE, "bank", "waiting", 1, 1_790_000_000.5, None)
ITEMS = [BulkItem(number, ChosenRun(f"run-{number}", "r", HOSTILE, "running", "c", [STAGE])) for number in (1, 2, 3)]
REQUEST = BulkRequest(1, "abc123", "skip", HOSTILE, "ada", {"partner": "bank"}, "2026", "a:1", "default", len(ITEMS))


def done(item: int, word: str = "done") -> BulkResult:
    return BulkResult(item, word, "", HOSTILE, "2026")  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file with the results of the first two runs; nothing is known of the second."""
    with closing(StateFile.create(tmp_path / "state", REQUEST, ITEMS)) as file:
        file.record(done(1))
        file.record(done(2, "unsure"))
    return tmp_path / "state"


def text_of(value: BulkRequest | BulkItem | BulkResult) -> str:
    return json.dumps(asdict(value)) + "\n"


PLAN = text_of(REQUEST) + "".join(map(text_of, ITEMS))


def test_what_is_written_is_read_again(path: Path) -> None:
    state = read_state(path)
    assert (state.request, state.items) == (REQUEST, ITEMS)
    assert [one.item for one in state.left] == [2, 3]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().splitlines()) == 6


@pytest.mark.parametrize("torn", ['{"item": 3, "result": "do', "\0\0\0", '{"item": 3}', "x" * 4096])
def test_a_line_that_was_not_written_to_its_end_is_cut_off(path: Path, torn: str) -> None:
    with path.open("a") as stream:
        stream.write(torn)
    assert [one.item for one in read_state(path).left] == [2, 3]
    file, state = StateFile.reopen(path)
    with closing(file):
        assert [one.item for one in state.left] == [2, 3]
        file.record(done(3))
        file.record(done(2))
    assert path.read_text() == PLAN + "".join(map(text_of, (done(1), done(2, "unsure"), done(3), done(2))))
    assert read_state(path).left == []


def test_a_file_that_is_there_is_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(CommandError, match="is there already"):
        StateFile.create(path, REQUEST, ITEMS)
    assert path.read_bytes() == before


def test_one_process_alone_works_with_a_file(path: Path) -> None:
    file, _ = StateFile.reopen(path)
    with closing(file), pytest.raises(CommandError, match="another process works with"):
        StateFile.reopen(path)
    StateFile.reopen(path)[0].close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    for odd in (tmp_path / "none" / "state", tmp_path / "x\0y"):
        with pytest.raises(CommandError, match="cannot be made"):
            StateFile.create(odd, REQUEST, ITEMS)


def test_a_plan_that_was_not_written_to_its_end_is_not_begun(path: Path) -> None:
    path.write_text(text_of(REQUEST) + text_of(ITEMS[0]) + text_of(ITEMS[1])[:-9])
    with pytest.raises(CommandError, match="lists 1 of 3 runs: it was stopped before it acted"):
        read_state(path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", 1),
        ("{}\n", 1),
        ("[1]\n", 1),
        ("\x1b[2J\n", 1),
        (text_of(replace(REQUEST, version=2)), 1),
        (text_of(replace(REQUEST, id=HOSTILE)), 1),
        (text_of(replace(REQUEST, items=-1)), 1),
        (text_of(REQUEST).replace('"skip"', '"succeed"'), 1),
        (text_of(REQUEST).replace('"items": 3', '"items": "3"'), 1),
        (PLAN.replace('"number": 2', '"number": "2"'), 2),
        (PLAN.replace('"number": 2', '"number": 0'), 2),
        (PLAN.replace('"item": 3', '"item": 2'), 4),
        (PLAN.replace("[{", "[[{").replace("}]", "}]]"), 2),
        (PLAN.replace("[{", '[], "x": [{'), 2),
        (PLAN + text_of(done(4)), 5),
        (PLAN + text_of(done(1, HOSTILE)), 5),
        (PLAN + "\n" + text_of(done(1)), 5),
        (PLAN + '{"a": 1, "a": 2}\n', 5),
        (PLAN + "\ud800\n", 5),
    ],
)
def test_a_line_that_the_command_does_not_write_is_told(path: Path, content: str, line: int) -> None:
    path.write_bytes(content.encode(errors="surrogatepass"))
    before = path.read_bytes()
    for read in (read_state, StateFile.reopen):
        with pytest.raises(CommandError, match=f"line {line} of .* is not what `stagehook pipeline bulk` writes"):
            read(path)
    assert path.read_bytes() == before


def test_the_latest_result_of_a_run_counts() -> None:
    state = BulkState(REQUEST, ITEMS, {1: done(1, "failed"), 2: done(2, "unreached"), 3: done(3, "passed over")}, 0)
    assert [one.item for one in state.left] == [2]
