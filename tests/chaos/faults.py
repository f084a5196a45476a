"""The faults. Each is an async context manager: its block begins when the fault has fired, and its end undoes it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from tests.chaos.plan import FaultKind
from tests.chaos.system import System, signal_all, until

FIRES_WITHIN: Final = 60.0
"""Seconds in which a fault must fire that waits for traffic."""

FIRST_TASK: Final = 4
"""The event with which a run's first workflow task completes."""

Fault = Callable[[System, str], AbstractAsyncContextManager[None]]

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
    async with _frozen([system.parts[part].pid]):
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
    async with _frozen((await _children(system, part))[:1]):
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
        lambda: len(pids := system.children(part)) == 2 and pids, f"two processes of {part}", FIRES_WITHIN
    )
    return found


@asynccontextmanager
async def _frozen(pids: list[int]) -> AsyncIterator[None]:
    """The first process and those that it has started are stopped; the others may have ended meanwhile."""
    signal_all(pids, signal.SIGSTOP)

    def are_stopped() -> bool:
        states = [*map(_state, pids)]
        assert states[0] not in ENDED, f"process {pids[0]} has ended by itself"
        return all(state in {"T", *ENDED} for state in states)

    try:
        await until(are_stopped, "stopped processes")
        yield
    finally:
        signal_all(pids, signal.SIGCONT)


ENDED: Final = frozenset({"", "Z"})
"""States of a process that has ended."""


def _state(pid: int) -> str:
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
    await until(lambda: sum(proxy.cut() for proxy in system.temporal_proxies.values()), "connections", FIRES_WITHIN)
    yield


@asynccontextmanager
async def run_reset(system: System, part: str) -> AsyncIterator[None]:
    """A running run goes back to its first workflow task, while its callbacks arrive."""
    await until(lambda: _reset_any(system), "a reset", FIRES_WITHIN, pause=0.3)
    yield


async def _reset_any(system: System) -> bool:
    """Reset a run whose first stage waits at least; False if there is none."""
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


# --- PostgreSQL


@asynccontextmanager
async def backends_ended(system: System, part: str) -> AsyncIterator[None]:
    """PostgreSQL ends the receivers' and workers' sessions."""
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'stagehook'"
    await until(lambda: _ask(system, end), "sessions", FIRES_WITHIN)
    yield


@asynccontextmanager
async def backend_killed(system: System, part: str) -> AsyncIterator[None]:
    """SIGKILL for the process of a session: PostgreSQL ends all others, and recovers."""
    pid = await _session(system)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: _state(pid) in ENDED, "the end of a session")
    yield
    await until(lambda: _ask(system, "SELECT 1"), "PostgreSQL has recovered")


@asynccontextmanager
async def backend_stopped(system: System, part: str) -> AsyncIterator[None]:
    """SIGSTOP for the process of a session."""
    async with _frozen([await _session(system)]):
        yield


async def _session(system: System) -> int:
    """The process of a session of ours."""
    find = "SELECT min(pid) FROM pg_stat_activity WHERE application_name = 'stagehook'"
    found: int = await until(lambda: _ask(system, find), "a session", FIRES_WITHIN)
    return found


@asynccontextmanager
async def crashed(system: System, part: str) -> AsyncIterator[None]:
    """PostgreSQL ends at once without writing out anything, and later starts again."""
    assert system.postgres is not None
    pid = system.postgres.pid()
    os.kill(pid, signal.SIGQUIT)
    await until(lambda: _state(pid) in ENDED, "the end of PostgreSQL")
    yield
    await asyncio.to_thread(system.postgres.stop)  # so that the library knows of the end
    await asyncio.to_thread(system.postgres.start)
    await until(lambda: _ask(system, "SELECT 1"), "PostgreSQL has recovered")


@asynccontextmanager
async def frozen(system: System, part: str) -> AsyncIterator[None]:
    """SIGSTOP for PostgreSQL with all its sessions."""
    async with _frozen(system.postgres_pids()):
        yield


@asynccontextmanager
async def disk_full(system: System, part: str) -> AsyncIterator[None]:
    """Every write is answered as on a full disk."""
    async with _set_by(system, FULL, "DROP FUNCTION IF EXISTS full_disk() CASCADE"):
        yield


FULL: Final = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file "base/1/1": No space left on device' USING ERRCODE = 'disk_full';
    END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON deliveries EXECUTE FUNCTION full_disk();
"""


@asynccontextmanager
async def read_only(system: System, part: str) -> AsyncIterator[None]:
    """Transactions may only read, as on a standby that has not taken over yet."""
    set_to = "ALTER SYSTEM SET default_transaction_read_only = {}"
    async with _set_by(system, set_to.format("on"), set_to.format("off"), "SELECT pg_reload_conf()"):
        yield


@asynccontextmanager
async def _set_by(system: System, statement: str, undo: str, then: str = "SELECT 1") -> AsyncIterator[None]:
    await until(lambda: _do(system, statement, then), "a setting", FIRES_WITHIN)
    try:
        yield
    finally:
        await until(lambda: _do(system, "SET default_transaction_read_only = off", undo, then), "its undoing")


@asynccontextmanager
async def locked(system: System, part: str) -> AsyncIterator[None]:
    """Another session holds the table's strongest lock."""
    connection = await until(lambda: _lock(system), "the lock", FIRES_WITHIN)
    try:
        yield
    finally:
        await connection.close()


async def _lock(system: System) -> psycopg.AsyncConnection[Any] | None:
    connection = await psycopg.AsyncConnection.connect(_address(system))
    try:
        await connection.execute("SET lock_timeout = '2s'")
        await connection.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
    except psycopg.Error:
        await connection.close()
        return None
    return connection


async def _ask(system: System, query: str) -> Any:
    try:
        async with await psycopg.AsyncConnection.connect(_address(system), connect_timeout=5) as connection:
            row = await (await connection.execute(query)).fetchone()
    except psycopg.Error:
        return None
    return row and row[0]


async def _do(system: System, *statements: str) -> bool:
    try:
        connecting = psycopg.AsyncConnection.connect(_address(system), autocommit=True, connect_timeout=5)
        async with await connecting as connection:
            await connection.execute("SET lock_timeout = '2s'")
            for statement in statements:
                await connection.execute(statement)
    except psycopg.Error:
        return False
    return True


def _address(system: System) -> str:
    assert system.postgres is not None
    assert system.database is not None
    return system.postgres.uri.replace("/postgres?", f"/{system.database.url.database}?")


# --- the connections to PostgreSQL, around COMMIT


@asynccontextmanager
async def commit_cut(system: System, part: str) -> AsyncIterator[None]:
    """The connection is cut before a COMMIT arrives."""
    async with _at_commit(system, "cut"):
        yield


@asynccontextmanager
async def commit_lost(system: System, part: str) -> AsyncIterator[None]:
    """The connection is cut when a COMMIT has arrived, before it is answered."""
    async with _at_commit(system, "lost"):
        yield


@asynccontextmanager
async def commit_mute(system: System, part: str) -> AsyncIterator[None]:
    """The connection is mute from a COMMIT on."""
    async with _at_commit(system, "mute"):
        yield


@asynccontextmanager
async def commit_delayed(system: System, part: str) -> AsyncIterator[None]:
    """A COMMIT arrives late."""
    async with _at_commit(system, "delayed"):
        yield


@asynccontextmanager
async def _at_commit(system: System, manner: Any) -> AsyncIterator[None]:
    assert system.store_proxy is not None
    async with system.store_proxy.aiming(b"COMMIT", manner) as hit:
        await asyncio.wait_for(hit.wait(), FIRES_WITHIN)
        yield


@asynccontextmanager
async def pooler_restarted(system: System, part: str) -> AsyncIterator[None]:
    """Every connection to PostgreSQL is cut, and others are refused for a while."""
    assert system.store_proxy is not None
    async with system.store_proxy.refusing():
        yield


# --- SQLite


@asynccontextmanager
async def file_locked(system: System, part: str) -> AsyncIterator[None]:
    """Another process holds the lock for writing."""
    file = system.folder / "deliveries.db"

    def lock() -> sqlite3.Connection:
        connection = sqlite3.connect(file, isolation_level=None, timeout=FIRES_WITHIN, check_same_thread=False)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    connection = await asyncio.to_thread(lock)
    try:
        yield
    finally:
        connection.close()


FULL_AT: Final = 4096
"""Bytes: less than the store's files have already, so that every write to them fails."""


@asynccontextmanager
async def file_full(system: System, part: str) -> AsyncIterator[None]:
    """The receivers and workers can make no file longer, as on a full disk."""
    try:
        _limit_files(_writers(system), FULL_AT)
        yield
    finally:
        # Looked up again: uvicorn may have started another process, which has its parent's limit.
        _limit_files(_writers(system), resource.RLIM_INFINITY)


def _writers(system: System) -> list[int]:
    """The processes that write to the store."""
    running = [name for name, part in system.parts.items() if name != "temporal" and part.is_running]
    children = [child for name in running if name in system.doors for child in system.children(name)]
    return [*(system.parts[name].pid for name in running), *children]


def _limit_files(pids: list[int], size: int) -> None:
    for pid in pids:
        try:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        except ProcessLookupError:
            continue


FAULTS: Final[Mapping[str, Fault]] = {
    fault.__name__: fault
    for fault in (
        *(killed, ended, stopped, child_killed, child_ended, child_stopped, clock_behind, clock_ahead),
        *(link_mute, link_cut, run_reset),
        *(backends_ended, backend_killed, backend_stopped, crashed, frozen, disk_full, read_only, locked),
        *(commit_cut, commit_lost, commit_mute, commit_delayed, pooler_restarted),
        *(file_locked, file_full),
    )
}


def fault_of(system: System, kind: FaultKind) -> AbstractAsyncContextManager[None]:
    """The fault of this kind."""
    return FAULTS[kind.name](system, kind.part)
