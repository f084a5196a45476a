"""Processes that a command starts and ends, with a log file for each, or shown line by line. All end with the command.

Every process has its own session, so that Ctrl-C reaches only the command, which then stops them. If the command itself
is killed, a guard ends them: a shell that has their ids, and waits until the command's end of a pipe closes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Protocol, Self

from activities.variables import VARIABLES
from receiver.cli.output import cancel_on_signals

TELL_GUARD: Final = 'echo $$ >&0; exec "$@" </dev/null'
"""Writes the process's id to the guard's pipe, which is its stdin, and becomes the command.

The new process writes the id, not the process that starts it: that may be killed between the two. The pipe closes only
after the id was written.
"""

GUARD: Final = 'while read -r pid; do pids="$pids $pid"; done; [ -z "$pids" ] || kill -9 $pids 2>/dev/null'
TAIL_LINES: Final = 15
PASSED_ON: Final = {"LOG_FORMAT", "LOG_LEVEL"}
"""Our variables that a local system takes over: they lead to no real system."""

LONGEST_SHOWN_LINE: Final = 64 * 1024
"""Bytes of a shown line; longer lines are shown in parts."""

LAST_OUTPUT_WITHIN: Final = 1.0
"""Seconds for the last output of a process that has ended: a process that it has left may hold the pipe open."""

PARENT_LOOK_SECONDS: Final = 0.2
"""Seconds between two looks at the parent process."""


class PartFailed(Exception):
    """A process ended too early, or was not ready in time. The message has the end of its log."""


class RunningPart(Protocol):
    """A running process."""

    name: str
    process: subprocess.Popen[bytes]

    def tail(self) -> str:
        """Return the end of its output."""
        ...


@dataclass
class LocalProcess:
    """A running process with a log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:])


class ShownProcess:
    """A running process whose output is shown. show: is called with its name and each line, in a thread of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], show: Callable[[str, str], None]) -> None:
        self.name = name
        self.process = process
        self.failure: OSError | None = None
        self._show = show
        self._last: deque[str] = deque(maxlen=TAIL_LINES)
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    def tail(self) -> str:
        """Return the end of its output."""
        if self.process.poll() is not None:
            self._reader.join(LAST_OUTPUT_WITHIN)
        return "\n".join(list(self._last))

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in iter(lambda: output.readline(LONGEST_SHOWN_LINE), b""):
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                self._last.append(text)
                if self.failure is None:
                    try:
                        self._show(self.name, text)
                    except OSError as error:
                        # Read on: a process whose output is not read stops at a full pipe, and cannot end.
                        self.failure = error


class Processes:
    """Starts processes, and ends them all at the end of the `with` block.

    folder: the folder of their logs. grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, folder: Path, *, grace: float) -> None:
        self._folder = folder
        self._grace = grace
        self._parts: list[RunningPart] = []
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
            part = LocalProcess(name, self._start(command, env, out), log)
        self._parts.append(part)
        return part

    def start_shown(
        self, name: str, command: Sequence[str], env: Mapping[str, str], show: Callable[[str, str], None]
    ) -> ShownProcess:
        """Start a process; `show` gets its name and each line of its output."""
        part = ShownProcess(name, self._start(command, env, subprocess.PIPE), show)
        self._parts.append(part)
        return part

    def _start(self, command: Sequence[str], env: Mapping[str, str], out: IO[bytes] | int) -> subprocess.Popen[bytes]:
        if shutil.which(command[0], path=os.pathsep.join(os.get_exec_path(env))) is None:
            raise FileNotFoundError(f"the program {command[0]} is missing or not executable: install it")
        return subprocess.Popen(
            ["/bin/sh", "-c", TELL_GUARD, "sh", *command],
            env=dict(env),
            stdin=_pipe(self._guard),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def check(self) -> None:
        """Raise `PartFailed` for a process that has ended, and `OSError` if a line could not be shown."""
        for part in self._parts:
            code = part.process.poll()
            if code is not None:
                raise PartFailed(f"{part.name} {_how_ended(code)}; the end of its log:\n{part.tail()}")
            if isinstance(part, ShownProcess) and part.failure:
                raise part.failure

    def not_ready(self, name: str) -> PartFailed:
        """Make the error for a process that was not ready in time."""
        tails = [part.tail() for part in self._parts if part.name == name]
        return PartFailed("\n".join([f"{name} was not ready in time; the end of its log:", *tails]))

    def tails(self) -> str:
        """Return the end of every log."""
        return "\n".join(f"--- {part.name}\n{part.tail()}" for part in self._parts)

    def stop(self) -> None:
        """End every process: SIGTERM, then SIGKILL for those that still run after the grace.

        The first one, Temporal, ends when the others have: they tell it what they have finished.
        """
        self._end(self._parts[1:])
        self._end(self._parts[:1])
        self._parts.clear()
        if self._guard is not None:
            # Kill the guard before its pipe closes: its ids may belong to other processes by now.
            self._guard.kill()
            self._guard.wait()
            _pipe(self._guard).close()
            self._guard = None

    def _end(self, parts: Sequence[RunningPart]) -> None:
        for part in parts:
            part.process.terminate()
        deadline = time.monotonic() + self._grace
        for part in parts:
            try:
                part.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()
            part.tail()  # what it wrote at its end is shown


def cancel_with_parent() -> None:
    """Let a signal, or the end of the parent process, end the current task as Ctrl-C does.

    A killed `uv run` or make would otherwise leave this process running. Under `nohup` only signals end it.
    """
    cancel_on_signals()
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    task, loop, parent = asyncio.current_task(), asyncio.get_running_loop(), os.getppid()

    def look_after_parent() -> None:
        if os.getppid() == parent:
            loop.call_later(PARENT_LOOK_SECONDS, look_after_parent)
        elif task:
            task.cancel()

    look_after_parent()


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


def _how_ended(code: int) -> str:
    """Say how a process ended; its return code is negative after a signal."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _pipe(guard: subprocess.Popen[bytes] | None) -> IO[bytes]:
    if guard is None or guard.stdin is None:
        raise RuntimeError("start processes inside the `with` block")
    return guard.stdin
