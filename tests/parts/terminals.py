"""Run `stagehook` on a terminal, in this process: of a given width, or with an answer that is typed there."""

from __future__ import annotations

import contextlib
import io
import os
import pty
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import click

from receiver.cli import run
from tests.commands import Done

OUTPUT_TIMEOUT = 3 * 10.0
"""Seconds."""


def on_terminal(columns: int, *words: str, **env: str) -> list[str]:
    """What a terminal of that width is sent, without colours, by a command that succeeds."""
    return click.unstyle(on_terminal_raw(columns, *words, code=0, **env).decode()).splitlines()


def on_terminal_raw(columns: int, *words: str, code: int | None = None, **env: str) -> bytes:
    """The very bytes. code: the exit code that it must have, if any."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal, ThreadPoolExecutor(1) as pool:
        shown = pool.submit(_read, terminal)
        with open(theirs, "w", encoding="utf-8") as output:
            ended = _run(words, output, {"COLUMNS": str(columns), "TERM": "xterm", **env})
        assert ended == code or code is None
        return shown.result(OUTPUT_TIMEOUT)


def answered(typed: bytes, *words: str, **env: str) -> Done:
    """How the command ends where stdin is a terminal, on which this is typed."""
    ours, theirs = pty.openpty()
    out, err = io.StringIO(), io.StringIO()
    with open(ours, "wb", buffering=0) as keyboard, open(theirs, encoding="utf-8") as given:
        keyboard.write(typed)
        outputs = (contextlib.redirect_stdout(out), contextlib.redirect_stderr(err))
        with patch.dict(os.environ, env), patch("sys.stdin", given), outputs[0], outputs[1]:
            return Done(run(words), out.getvalue(), err.getvalue())


def _run(words: tuple[str, ...], output: io.TextIOWrapper, env: Mapping[str, str]) -> int:
    outputs = (contextlib.redirect_stdout(output), contextlib.redirect_stderr(output))
    with patch.dict(os.environ, env), outputs[0], outputs[1]:
        return run(words)


def _read(terminal: io.FileIO) -> bytes:
    shown = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while more := terminal.read(10_000):
            shown += more
    return shown
