"""Processes that a command starts and ends, each with a log file. All of them end with the command.

Every process has its own session, so that Ctrl-C reaches only the command, which then stops them. If the command itself
is killed, a guard ends them: a shell that has their ids, and waits until the command's end of a pipe closes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from activities.variables import VARIABLES

GUARD: Final = 'while read -r pid; do pids="$pids $pid"; done; [ -z "$pids" ] || kill -9 $pids 2>/dev/null'
TAIL_LINES: Final = 15
PASSED_ON: Final = {"LOG_FORMAT", "LOG_LEVEL"}
"""Our variables that a local system takes over: they lead to no real system."""


class PartFailed(Exception):
    """A process ended too early, or was not ready in time. The message has the end of its log."""


@dataclass
class LocalProcess:
    """A running process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:])


class Processes:
    """Starts processes, and ends them all at the end of the `with` block.

    folder: the folder of their logs. grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, folder: Path, *, grace: float) -> None:
        self._folder = folder
        self._grace = grace
        self._parts: list[LocalProcess] = []
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD], stdin=subprocess.PIPE, start_new_session=True, stderr=subprocess.DEVNULL
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> LocalProcess:
        """Start a process; its output goes to `NAME.log`."""
        log = self._folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        _pipe(self._guard).write(f"{process.pid}\n".encode())
        _pipe(self._guard).flush()
        part = LocalProcess(name, process, log)
        self._parts.append(part)
        return part

    def check(self) -> None:
        """Raise `PartFailed` for a process that has ended."""
        for part in self._parts:
            code = part.process.poll()
            if code is not None:
                raise PartFailed(f"{part.name} ended with exit code {code}; the end of its log:\n{part.tail()}")

    def not_ready(self, name: str) -> PartFailed:
        """Make the error for a process that was not ready in time."""
        tails = [part.tail() for part in self._parts if part.name == name]
        return PartFailed("\n".join([f"{name} was not ready in time; the end of its log:", *tails]))

    def tails(self) -> str:
        """Return the end of every log."""
        return "\n".join(f"--- {part.name}\n{part.tail()}" for part in self._parts)

    def stop(self) -> None:
        """End every process: SIGTERM, then SIGKILL for those that still run after the grace."""
        for part in self._parts:
            part.process.terminate()
        deadline = time.monotonic() + self._grace
        for part in self._parts:
            try:
                part.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()
        self._parts.clear()
        if self._guard is not None:
            # Kill the guard before its pipe closes: its ids may belong to other processes by now.
            self._guard.kill()
            self._guard.wait()
            _pipe(self._guard).close()
            self._guard = None


def free_port() -> int:
    """Return a TCP port on loopback that is free at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def bare_environment() -> dict[str, str]:
    """Return this process's environment without variables that would connect a local system to a real one."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in VARIABLES.keys() - PASSED_ON and not name.startswith(("TEMPORAL_", "SANDBOX_"))
    }


def _pipe(guard: subprocess.Popen[bytes] | None) -> IO[bytes]:
    if guard is None or guard.stdin is None:
        raise RuntimeError("start processes inside the `with` block")
    return guard.stdin
