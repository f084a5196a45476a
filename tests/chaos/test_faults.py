"""A fault counts as fired only if it has met what it was meant for."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from receiver.cli.demo.processes import Processes
from tests.chaos.process_faults import ended, killed, stopped
from tests.chaos.store_faults import file_full
from tests.chaos.system import Part, Setting, System

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[System]:
    """A system of one part that does nothing."""
    with Processes(tmp_path, grace=0.0) as processes:
        made = System(Setting("sqlite"), tmp_path, {}, processes)
        made.parts["worker-1"] = Part("worker-1", SLEEPS, {})
        made.start("worker-1")
        yield made


@pytest.mark.parametrize("fault", [killed, ended, stopped])
async def test_a_fault_does_not_fire_at_a_part_that_has_ended(
    small: System, fault: Callable[[System, str], AbstractAsyncContextManager[None]]
) -> None:
    process = small.parts["worker-1"].process
    assert process
    process.process.kill()
    process.process.wait()
    assert small.ended() == ["worker-1"]
    with pytest.raises(AssertionError, match="has ended by itself"):
        async with fault(small, "worker-1"):
            pass


async def test_a_process_started_on_a_full_disk_can_write_later(small: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn starts a process with its parent's limit."""
    started: list[int] = []
    small.doors["worker-1"] = "http://127.0.0.1:1"
    monkeypatch.setattr(System, "children", lambda *_: started)
    async with file_full(small, "sqlite"):
        child = small.processes.start("child", SLEEPS, {})
        pid = child.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
        started.append(pid)
    assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
