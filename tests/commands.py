"""Run `stagehook` in this process, as if with an environment of its own: a new process imports for a second of CPU."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from click.testing import CliRunner

from receiver.cli import run
from receiver.cli.demo.processes import bare_environment


@contextmanager
def unchanged_log() -> Iterator[None]:
    """Keep `serve` and `worker` from setting up the log of their process: it is that of pytest here."""
    hooks = [(sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")]
    before = [(module, name, getattr(module, name)) for module, name in hooks]
    with patch("logging.config.dictConfig"):
        try:
            yield
        finally:
            logging.captureWarnings(capture=False)
            for module, name, hook in before:
                setattr(module, name, hook)


def run_in_process(
    args: tuple[str, ...], given: bytes, env: Mapping[str, str | None]
) -> subprocess.CompletedProcess[bytes]:
    """Run the command with these changes to the environment; None removes a variable."""
    with unchanged_log(), CliRunner().isolation(given, env) as (out, err, _):
        code = run(args)
        return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


def run_alone(*args: str, given: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command with these variables and none that would lead it to a real system."""
    keep = dict.fromkeys(("PUBLIC_URL", "CALLBACK_KEYS", "PARTNERS", "DATABASE_URL"))
    return run_in_process(args, given, {**keep, **bare_environment(), **env})


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote, as text."""

    code: int
    out: str
    err: str


def command(*args: str, given: bytes = b"", **env: str) -> Done:
    """Run the command like `run_alone`."""
    done = run_alone(*args, given=given, **env)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
