"""What a command's end is when its output cannot be written: cut off, full, closed."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from receiver.cli.stack import stagehook_command
from receiver.deliveries import migrations
from receiver.deliveries.archive import Archive
from receiver.deliveries.database import Database
from tests.commands import command
from tests.receiver.test_inbox import delivery
from tests.support import KEY

LINES = 1000
"""Of half a kilobyte: more than a pipe holds."""


def shell(words: list[str], rest: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    line = f"set -o pipefail; {shlex.join(stagehook_command(*words))} {rest}"
    return subprocess.run(["bash", "-c", line], env={**os.environ, **env}, capture_output=True, timeout=30, check=False)


@pytest.mark.parametrize("words", [["export"], ["list", "--limit", "1000"], ["list", "--limit", "1000", "--json"]])
def test_a_reader_that_has_had_enough_is_no_failure(words: list[str], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/deliveries.db"
    migrations.upgrade(Database(store))
    Archive(Database(store)).add([delivery() for _ in range(LINES)])
    done = shell(["delivery", *words], "| { head -c 1 >/dev/null; }", DATABASE_URL=store)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["--help"], ["key", "generate"]])
def test_a_full_disk_is_told_in_a_sentence(words: list[str]) -> None:
    done = shell(words, "> /dev/full")
    assert done.returncode == 1
    what, advice = done.stderr.decode().splitlines()
    assert what == "error: the output cannot be written: No space left on device"
    assert advice == "  try: make room there, or write to another place"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_written_to_nowhere(closed: str) -> None:
    done = shell(["key", "generate"], closed)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("answer", [b"n\n", b"\x04", signal.SIGINT])
def test_a_question_is_ended_by_no_by_ctrl_d_and_by_ctrl_c(answer: bytes | signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text(json.dumps(delivery().as_json()))
    words = stagehook_command("delivery", "replay", "--from", str(file), "--mode", "verbatim")
    settings = {"PUBLIC_URL": "http://127.0.0.1:9", "CALLBACK_KEYS": KEY, "PARTNERS": "sandbox"}
    ours, theirs = pty.openpty()
    with open(ours, "r+b", buffering=0) as terminal, open(theirs, "r+b", buffering=0) as given:
        process = subprocess.Popen(words, env={**os.environ, **settings}, stdin=given, stdout=given, stderr=given)
        try:
            shown = b""
            while b"Go on?" not in shown:
                shown += terminal.read(1000)
            if isinstance(answer, bytes):
                terminal.write(answer)
            else:
                process.send_signal(answer)
            assert process.wait(timeout=10) == 130
            assert b"nothing was sent" in terminal.read(1000)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("words", "named"),
    [(["delivery", "show"], "argument 'ID'"), (["delivery", "list", "--limit", "x"], "'--limit'")],
)
def test_wrong_usage_names_what_is_wrong(words: list[str], named: str) -> None:
    done = command(*words)
    assert done.code == 2
    assert named in done.err
