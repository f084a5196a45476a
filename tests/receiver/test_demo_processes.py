"""The processes of the demo: they end with the command that started them, however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from receiver.cli.demo.processes import PartFailed, Processes
from tests.local_stack import eventually

SLEEP = ["sleep", "300"]
TWO_SLEEPERS = """
import sys
from pathlib import Path
from receiver.cli.demo.processes import Processes

with Processes(Path(sys.argv[1]), grace=5.0) as processes:
    for name in ("one", "two"):
        print(processes.start(name, ["sleep", "300"], {}).process.pid, flush=True)
    sys.stdin.read()
"""

KILLED_AT_A_START = """
import os, signal, subprocess, sys
from pathlib import Path
from receiver.cli.demo.processes import Processes

popen = subprocess.Popen

def start_and_die(*words, **names):
    os.write(1, f"{popen(*words, **names).pid}".encode())
    os.kill(os.getpid(), signal.SIGKILL)

with Processes(Path(sys.argv[1]), grace=5.0) as processes:
    subprocess.Popen = start_and_die
    processes.start("one", ["sleep", "300"], {})
"""


def is_running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip() != "" and not state.startswith("Z")


def test_a_part_that_ends_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path, grace=5.0) as processes:
        running = processes.start("running", SLEEP, {}).process
        processes.start("ending", ["sh", "-c", "echo too early; exit 3"], {}).process.wait()
        with pytest.raises(PartFailed, match="ending ended with exit code 3; the end of its log:\ntoo early"):
            processes.check()
    assert running.poll() is not None


def test_a_part_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with Processes(tmp_path, grace=0.1) as processes:
        deaf = processes.start("deaf", ["sh", "-c", "trap '' TERM; echo ready; exec sleep 300"], {})
        eventually(lambda: "ready" in deaf.tail())
    assert deaf.process.poll() == -9


def test_the_first_part_ends_when_the_others_have(tmp_path: Path) -> None:
    """Temporal is the first: a worker that has nowhere to report a finished call makes it again at the next start."""
    order = tmp_path / "order"
    with Processes(tmp_path, grace=5.0) as processes:
        for name, pause in (("temporal", 0), ("worker", 0.3)):
            script = (
                f"trap 'sleep {pause}; echo {name} >> {order}; exit' TERM; echo ready; while :; do sleep 0.05; done"
            )
            processes.start(name, ["sh", "-c", script], {"PATH": "/usr/bin:/bin"})
            eventually((tmp_path / f"{name}.log").read_text)
    assert order.read_text().split() == ["worker", "temporal"]


def test_a_command_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO_SLEEPERS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline()) for _ in range(2)]
        assert all(is_running(pid) for pid in pids)
        process.kill()
    eventually(lambda: not any(is_running(pid) for pid in pids))


def test_a_command_that_is_killed_at_a_start_leaves_none(tmp_path: Path) -> None:
    """At the moment when the process exists, and nothing has been done with its id."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_A_START, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -9
    eventually(lambda: not is_running(int(killed.stdout)))


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with (
        Processes(tmp_path, grace=5.0) as processes,
        pytest.raises(FileNotFoundError, match="no-such-program is missing"),
    ):
        processes.start("part", ["no-such-program"], {})
