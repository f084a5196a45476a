"""Processes that are killed, ended, stopped or restarted with another clock, and Temporal's connections and resets."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from tests.chaos.fault import FIRES_WITHIN, FIRST_TASK
from tests.chaos.system import System, signal_all
from tests.parts.polling import until

# --- processes


@asynccontextmanager
async def killed(system: System, part: str) -> AsyncIterator[None]:
    """SIGKILL, and later another start."""
    await system.end(part, signal.SIGKILL)
    yield
    await _start(system, part)


@asynccontextmanager
async def ended(system: System, part: str) -> AsyncIterator[None]:
    """SIGTERM, the end by itself, and later another start."""
    await system.end(part, signal.SIGTERM)
    yield
    await _start(system, part)


@asynccontextmanager
async def stopped(system: System, part: str) -> AsyncIterator[None]:
    """SIGSTOP, and later SIGCONT."""
    async with processes_frozen([system.parts[part].pid]):
        yield


@asynccontextmanager
async def child_killed(system: System, part: str) -> AsyncIterator[None]:
    """SIGKILL for one of several uvicorn processes, which uvicorn replaces."""
    async with _replaced(system, part, signal.SIGKILL):
        yield


@asynccontextmanager
async def child_ended(system: System, part: str) -> AsyncIterator[None]:
    """SIGTERM for one of several uvicorn processes, which uvicorn replaces."""
    async with _replaced(system, part, signal.SIGTERM):
        yield


@asynccontextmanager
async def child_stopped(system: System, part: str) -> AsyncIterator[None]:
    """SIGSTOP for one of several uvicorn processes."""
    async with processes_frozen((await _children(system, part))[:1]):
        yield


@asynccontextmanager
async def clock_behind(system: System, part: str) -> AsyncIterator[None]:
    """Another start with a clock that is two minutes late."""
    async with _shifted(system, part, "-120"):
        yield


@asynccontextmanager
async def clock_ahead(system: System, part: str) -> AsyncIterator[None]:
    """Another start with a clock that is 20 s early."""
    async with _shifted(system, part, "20"):
        yield


@asynccontextmanager
async def _shifted(system: System, part: str, seconds: str) -> AsyncIterator[None]:
    await system.end(part, signal.SIGTERM)
    system.start(part, SHIFT=seconds)
    await system.ready(part)
    yield
    await system.end(part, signal.SIGTERM)
    await _start(system, part)


@asynccontextmanager
async def _replaced(system: System, part: str, number: signal.Signals) -> AsyncIterator[None]:
    child = (await _children(system, part))[0]
    os.kill(child, number)
    await until(lambda: child not in system.children(part), "the end of a uvicorn process")
    yield
    await _children(system, part)


async def _start(system: System, part: str) -> None:
    system.start(part)
    await system.ready(part)


async def _children(system: System, part: str) -> list[int]:
    found: list[int] = await until(
        lambda: len(pids := system.children(part)) == 2 and pids, f"two processes of {part}", within=FIRES_WITHIN
    )
    return found


@asynccontextmanager
async def processes_frozen(pids: list[int]) -> AsyncIterator[None]:
    """The first process and those that it has started are stopped; the others may have ended meanwhile."""
    signal_all(pids, signal.SIGSTOP)

    def are_stopped() -> bool:
        states = [*map(state_of_process, pids)]
        assert states[0] not in ENDED, f"process {pids[0]} has ended by itself"
        return all(state in {"T", *ENDED} for state in states)

    try:
        await until(are_stopped, "stopped processes")
        yield
    finally:
        signal_all(pids, signal.SIGCONT)


ENDED: Final = frozenset({"", "Z"})
"""States of a process that has ended."""


def state_of_process(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


# --- Temporal's connections, and resets


@asynccontextmanager
async def link_mute(system: System, part: str) -> AsyncIterator[None]:
    """Connections to Temporal stay open, and nothing comes through."""
    async with AsyncExitStack() as stack:
        for proxy in system.temporal_proxies.values():
            await stack.enter_async_context(proxy.mute())
        yield


@asynccontextmanager
async def link_cut(system: System, part: str) -> AsyncIterator[None]:
    """Connections to Temporal are cut, and made again at once."""
    await until(
        lambda: sum(proxy.cut() for proxy in system.temporal_proxies.values()), "connections", within=FIRES_WITHIN
    )
    yield


@asynccontextmanager
async def run_reset(system: System, part: str) -> AsyncIterator[None]:
    """A running run goes back to its first workflow task, while its callbacks arrive."""
    await until(lambda: _reset_any(system), "a reset", within=FIRES_WITHIN, pause=0.3)
    yield


async def _reset_any(system: System) -> bool:
    """Reset a run whose first stage waits at least; False if no such run is open."""
    try:
        async for run in system.client.list_workflows("ExecutionStatus = 'Running'"):
            if run.id.startswith("run-") and run.id not in system.resets and await _is_past_first_task(system, run.id):
                system.resets.add(run.id)  # before: the answer to the reset may be lost
                await _reset(system, run.id, run.run_id)
                return True
    except RPCError:
        pass  # Temporal is away, or the run has ended meanwhile: another one is looked for
    return False


async def _is_past_first_task(system: System, workflow_id: str) -> bool:
    described = await system.client.get_workflow_handle(workflow_id).describe()
    is_running = described.status is WorkflowExecutionStatus.RUNNING
    return is_running and described.history_length > 2 * FIRST_TASK


async def _reset(system: System, workflow_id: str, run_id: str) -> None:
    request = ResetWorkflowExecutionRequest(
        namespace=system.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        reason="chaos",
        workflow_task_finish_event_id=FIRST_TASK,
        request_id=f"reset-{run_id}",
    )
    await system.client.workflow_service.reset_workflow_execution(request)
