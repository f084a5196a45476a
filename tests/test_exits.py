"""Every entry point again and again: a process that has used Temporal's client must not crash when it ends."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from activities.callback_urls import CallbackURLs, Claims
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import stagehook_command
from tests.local_stack import Local, run_command
from tests.support import KEY

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]

TIMES = 30
WITHOUT_TEMPORAL = 5
"""Times that what never uses Temporal's client is run."""

AT_ONCE = 3
URL = CallbackURLs("http://hooks.test", [KEY]).issue(Claims("w", "c", 1, 1, "bank", 1_790_000_000, 2**35))


def codes(once: Callable[[int], int], times: int = TIMES) -> set[int]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return set(pool.map(once, range(times)))


@pytest.mark.parametrize(
    ("args", "code", "times"),
    [
        (["--version"], 0, WITHOUT_TEMPORAL),
        (["pipeline", "list"], 0, TIMES),
        (["pipeline", "show", "nobody"], 4, TIMES),
        (["token", "inspect", URL], 5, WITHOUT_TEMPORAL),
        (["key", "generate"], 0, WITHOUT_TEMPORAL),
        (["key", "list"], 0, WITHOUT_TEMPORAL),
        (["doctor"], 0, TIMES),
        (["partner", "send", "http://127.0.0.1:9/callbacks/x"], 1, WITHOUT_TEMPORAL),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_command_never_crashes_at_its_end(local: Local, args: list[str], code: int, times: int) -> None:
    assert codes(lambda _: run_command(*args, env=local.stack.environment).returncode, times) == {code}


def test_temporal_away_never_crashes_at_the_end(local: Local) -> None:
    env = {**local.stack.environment, "TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}"}
    assert codes(lambda _: run_command("pipeline", "list", env=env).returncode) == {7}


@pytest.mark.parametrize(
    ("args", "ready", "times"),
    [
        (["serve"], "Application startup complete", TIMES),
        (["worker"], "started task_queue", TIMES),
        (["partner", "serve"], "Uvicorn running", WITHOUT_TEMPORAL),
        (["console"], "Uvicorn running", WITHOUT_TEMPORAL),
    ],
    ids=["serve", "worker", "partner serve", "console"],
)
def test_a_process_that_is_stopped_ends_with_code_0(
    local: Local, tmp_path: Path, args: list[str], ready: str, times: int
) -> None:
    def once(number: int) -> int:
        log = tmp_path / f"{number}.log"
        port = str(free_port())
        command = [*args, "--port", port] if args[0] in {"console", "partner"} else args
        with log.open("wb") as out:
            env = {**local.stack.environment, "PORT": port}
            process = subprocess.Popen(stagehook_command(*command), env=env, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + 120
            while ready not in log.read_text():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            return process.wait(60)
        finally:
            process.kill()
            process.wait()

    assert codes(once, times) == {0}


def test_the_demo_ends_with_code_0() -> None:
    """Less often: it ends as every other command does, and starts and ends four processes each time."""
    assert {run_command("demo", "--json").returncode for _ in range(TIMES // 3)} == {0}
