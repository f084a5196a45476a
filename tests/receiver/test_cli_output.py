"""What commands print on a terminal, and how they end where their output cannot be written: cut off, full, closed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from activities.callback_urls import CallbackURLs, Claims
from activities.store.database import Database
from receiver.cli import run, stagehook
from receiver.cli.demo.stack import stagehook_command
from receiver.deliveries.archive import Archive
from tests.commands import command
from tests.local_stack import eventually
from tests.parts.deliveries import delivery
from tests.parts.empty_stores import SQLiteFiles
from tests.parts.listeners import listening
from tests.parts.terminals import answered, on_terminal
from tests.support import KEY

SETTINGS = {"PUBLIC_URL": "http://127.0.0.1:9", "CALLBACK_KEYS": KEY, "PARTNERS": "sandbox"}
LINES = 300
"""Of half a kilobyte: more than a pipe holds."""


@pytest.fixture
def store(sqlite_files: SQLiteFiles, tmp_path: Path) -> str:
    """The URL of a store."""
    return sqlite_files.copy(tmp_path).url.render_as_string()


def shell(words: list[str], rest: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    line = f"set -o pipefail; {shlex.join(stagehook_command(*words))} {rest}"
    return subprocess.run(["bash", "-c", line], env={**os.environ, **env}, capture_output=True, timeout=60, check=False)


@pytest.mark.system
def test_a_reader_that_has_had_enough_is_no_failure(store: str) -> None:
    Archive(Database(store)).add([delivery() for _ in range(LINES)])
    done = shell(["delivery", "list", "--limit", "5000"], "| { head -c 1 >/dev/null; }", DATABASE_URL=store)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["export"], ["list", "--limit", "5000"], ["list", "--limit", "5000", "--json"]])
def test_a_reader_that_has_gone_is_no_failure(words: list[str], store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", store)
    Archive(Database(store)).add([delivery() for _ in range(LINES)])
    reader, writer = os.pipe()
    os.close(reader)
    errors = io.StringIO()
    with (
        contextlib.suppress(BrokenPipeError),  # of closing it
        open(writer, "w", encoding="utf-8") as output,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        code = run(["delivery", *words])
    assert (code, errors.getvalue()) == (0, "")


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("partner", ["bank", "a-partner-of-thirty-characters"])
def test_a_list_fits_the_terminal_and_nothing_is_cut_off(columns: int, partner: str, store: str) -> None:
    run = "onboarding-0192f1c2-aaaa-bbbb-cccc-000000000000"
    one = delivery(partner=partner, workflow_id=run, verdict="not_processable", status=503, received_at=9e8)
    Archive(Database(store)).add([one])
    shown = on_terminal(columns, "delivery", "list", DATABASE_URL=store)
    assert max(map(len, shown)) <= columns
    words = " ".join(shown).split()
    assert {one.id, "503", "not_processable", partner, run, "1/1"} <= set(words)
    assert len(shown) == (3 if columns == 200 else 5 if partner == "bank" else 7)


def test_what_a_delivery_is_fits_80_columns(store: str) -> None:
    one = delivery(workflow_id="onboarding-0192f1c2-aaaa-bbbb-cccc-000000000000", chain_id="0" * 36)
    Archive(Database(store)).add([one])
    shown = on_terminal(80, "delivery", "show", one.id, DATABASE_URL=store)
    assert max(map(len, shown)) <= 80


def test_every_help_fits_80_columns() -> None:
    wide = [
        line for text in helps(stagehook, click.Context(stagehook, terminal_width=80)) for line in text.splitlines()
    ]
    assert [line for line in wide if len(line) > 80] == []


def helps(command: click.Command, context: click.Context) -> Iterator[str]:
    yield command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from helps(inner, click.Context(inner, info_name=name, parent=context))


def test_an_empty_list_says_what_to_look_at(store: str) -> None:
    done = command("delivery", "list", DATABASE_URL=store)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("none found: the store is empty; look whether DATABASE_URL ")
    Archive(Database(store)).add([delivery()])
    assert command("delivery", "list", "--fate", "parked", DATABASE_URL=store).err == "no delivery matches\n"


@pytest.mark.system
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


@pytest.mark.system
def test_a_replay_that_is_stopped_says_how_far_it_came(tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text("".join(json.dumps(delivery().as_json()) + "\n" for _ in range(2)))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {**SETTINGS, "PUBLIC_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        words = stagehook_command("delivery", "replay", "--from", str(file), "--mode", "verbatim")
        process = subprocess.Popen(
            words, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert b"stopped: 0 of 2 deliveries had been answered" in said


@pytest.fixture
def asking(tmp_path: Path) -> list[str]:
    """A command that asks whether to go on."""
    file = tmp_path / "export.jsonl"
    file.write_text(json.dumps(delivery().as_json()))
    words = ["delivery", "replay", "--from", str(file), "--mode", "verbatim", "--allow-remote"]
    return [*words, "--to", "https://receiver.invalid"]


@pytest.mark.parametrize("answer", [b"n\n", b"\x04"])
def test_a_question_is_ended_by_no_and_by_ctrl_d(answer: bytes, asking: list[str]) -> None:
    done = answered(answer, *asking, **SETTINGS)
    assert done.code == 130
    assert "Go on?" in done.err
    assert "nothing was sent" in done.err


def is_sleeping(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return state.startswith("S")


@pytest.mark.system
def test_a_question_is_ended_by_ctrl_c(asking: list[str]) -> None:
    words = stagehook_command(*asking)
    ours, theirs = pty.openpty()
    with open(ours, "r+b", buffering=0) as terminal, open(theirs, "r+b", buffering=0) as given:
        process = subprocess.Popen(words, env={**os.environ, **SETTINGS}, stdin=given, stdout=given, stderr=given)
        try:
            shown = b""
            while b"Go on?" not in shown:
                shown += terminal.read(1000)
            eventually(lambda: is_sleeping(process.pid))  # it reads: Python forgets a signal between question and read
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
            assert b"nothing was sent" in terminal.read(1000)
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("words", "named"),
    [(["delivery", "show"], "argument 'ID'"), (["delivery", "list", "--limit", "x"], "'--limit'")],
)
def test_wrong_usage_names_what_is_wrong(words: list[str], named: str) -> None:
    done = command(*words)
    assert done.code == 2
    assert named in done.err


URL = CallbackURLs("http://127.0.0.1:9", [KEY]).issue(Claims("run", "chain", 2, 1, "bank", 1_790_000_000, 2**35))


@pytest.mark.parametrize("given", [URL, f"{URL}\n", f"  {URL}\r\n"])
def test_a_url_is_read_from_stdin(given: str) -> None:
    done = command("token", "inspect", "-", "--json", given=given.encode(), CALLBACK_KEYS=KEY)
    assert json.loads(done.out)["stage"] == 2
    with listening() as (url, noted):
        there = given.replace("http://127.0.0.1:9", url)
        done = command("partner", "send", "-", "--no-sign", given=there.encode(), CALLBACK_KEYS=KEY)
    assert (done.code, done.out) == (0, "202 \n")
    assert noted[0][0] == URL.removeprefix("http://127.0.0.1:9")


@pytest.mark.parametrize("given", [b"", b"\n", b"one two", b"one\ntwo"])
@pytest.mark.parametrize("words", [["token", "inspect", "-"], ["partner", "send", "-"]])
def test_stdin_without_one_url_is_told(words: list[str], given: bytes) -> None:
    done = command(*words, given=given, CALLBACK_KEYS=KEY)
    assert done.code == 2
    assert done.err.startswith("error: stdin does not hold one ")


@pytest.mark.parametrize("option", ["--body", "--data"])
def test_stdin_holds_the_url_or_the_body(option: str) -> None:
    done = command("partner", "send", "-", option, "-", given=URL.encode())
    assert (done.code, done.err.partition("\n")[0]) == (
        2,
        "error: stdin cannot hold both the URL and the body: give one of them in another way",
    )


@pytest.mark.parametrize(
    "words",
    [
        ["partner", "send", URL, URL],
        ["partner", "send", URL.removeprefix("http://")],
        ["partner", "send", "--status", URL, URL],
        ["partner", "send", "x", "--data", f"@{URL}"],
        ["token", URL],
        [URL],
        ["token", "inspect", URL, URL.rpartition("/")[2]],
        ["token", "issue", "run", URL],
        ["delivery", "list", "--since", URL],
        ["delivery", "check", URL],
    ],
    ids=lambda words: " ".join(words).replace(URL, "URL"),
)
def test_wrong_usage_never_repeats_a_live_url(words: list[str]) -> None:
    done = command(*words, CALLBACK_KEYS=KEY)
    assert done.code == 2
    assert URL.rpartition("/")[2] not in done.err
    assert URL.rpartition("/")[2].partition(".")[2] not in done.err
