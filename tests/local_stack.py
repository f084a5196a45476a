"""A whole local system of real processes for tests, and commands run against it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from receiver.cli.demo.processes import Processes
from receiver.cli.demo.stack import Stack, stagehook_command, start_stack, temporal_server
from tests.commands import run_in_process

COMMAND_WITHIN = 60.0
PLAYS: Mapping[str, Sequence[str]] = {
    "identity": ["later"],
    "bank": ["never"],
    "esign": ["later"],
    "cards": ["later"],
}


@dataclass
class Local:
    """The system, and the processes that it consists of."""

    stack: Stack
    processes: Processes
    folder: Path

    def command(self, *args: str, given: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        """Run `stagehook` against the system, in this process."""
        return run_in_process(args, given, {**self.stack.environment, **env})


def eventually(holds: Callable[[], Any], within: float = 60.0) -> Any:
    deadline = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)  # a look may be a whole command
    return found


def lazy_server(port: int, database: Path, ui_port: int | None = None) -> list[str]:
    """The command of the real one, for a server that collects its garbage more seldom."""
    return ["env", "GOGC=400", *temporal_server(port, database, ui_port)]


@contextmanager
def local_system(folder: Path, plays: Mapping[str, Sequence[str]] = PLAYS, *, delay: float = 0.05) -> Iterator[Local]:
    with (
        patch("receiver.cli.demo.stack.READY_WITHIN", 120.0),
        patch("receiver.cli.demo.stack.temporal_server", lazy_server),
        Processes(folder, grace=25.0) as processes,
    ):
        stack = asyncio.run(start_stack(processes, folder, plays=plays, delay=delay, ui=False))
        yield Local(stack, processes, folder)


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A system for all tests of the process that do not need their own; its bank never answers."""
    # On a busy machine a quick callback overtakes its call, and then the stage has no reference.
    with local_system(tmp_path_factory.mktemp("local"), delay=0.5) as system:
        yield system


def heed_ctrl_c() -> None:
    """A shell that runs the tests in the background has its children ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed, if it has not ended, when the block does; its output goes to the log."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, preexec_fn=heed_ctrl_c)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run_command(
    *args: str, given: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `stagehook` as a process of its own."""
    return subprocess.run(
        stagehook_command(*args),
        input=given,
        capture_output=True,
        timeout=COMMAND_WITHIN,
        env=dict(os.environ if env is None else env),
        check=False,
    )
