"""Faults of PostgreSQL, of connections to it around COMMIT, and of SQLite's file."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg

from tests.chaos.fault import FIRES_WITHIN
from tests.chaos.process_faults import ENDED, processes_frozen, state_of_process
from tests.chaos.system import System
from tests.parts.polling import until

# --- PostgreSQL


@asynccontextmanager
async def backends_ended(system: System, part: str) -> AsyncIterator[None]:
    """PostgreSQL ends the receivers' and workers' sessions."""
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'stagehook'"
    await until(lambda: _ask(system, end), "sessions", within=FIRES_WITHIN)
    yield


@asynccontextmanager
async def backend_killed(system: System, part: str) -> AsyncIterator[None]:
    """SIGKILL for the process of a session: PostgreSQL ends all others, and recovers."""
    pid = await _session(system)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: state_of_process(pid) in ENDED, "the end of a session")
    yield
    await until(lambda: _ask(system, "SELECT 1"), "PostgreSQL has recovered")


@asynccontextmanager
async def backend_stopped(system: System, part: str) -> AsyncIterator[None]:
    """SIGSTOP for the process of a session."""
    async with processes_frozen([await _session(system)]):
        yield


async def _session(system: System) -> int:
    """The process of a session of ours."""
    find = "SELECT min(pid) FROM pg_stat_activity WHERE application_name = 'stagehook'"
    found: int = await until(lambda: _ask(system, find), "a session", within=FIRES_WITHIN)
    return found


@asynccontextmanager
async def crashed(system: System, part: str) -> AsyncIterator[None]:
    """PostgreSQL ends at once without writing out anything, and later starts again."""
    assert system.postgres is not None
    pid = system.postgres.pid()
    os.kill(pid, signal.SIGQUIT)
    await until(lambda: state_of_process(pid) in ENDED, "the end of PostgreSQL")
    yield
    await asyncio.to_thread(system.postgres.stop)  # so that the library knows of the end
    await asyncio.to_thread(system.postgres.start)
    await until(lambda: _ask(system, "SELECT 1"), "PostgreSQL has recovered")


@asynccontextmanager
async def frozen(system: System, part: str) -> AsyncIterator[None]:
    """SIGSTOP for PostgreSQL with all its sessions."""
    async with processes_frozen(system.postgres_pids()):
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
    await until(lambda: _do(system, statement, then), "a setting", within=FIRES_WITHIN)
    try:
        yield
    finally:
        await until(lambda: _do(system, "SET default_transaction_read_only = off", undo, then), "its undoing")


@asynccontextmanager
async def locked(system: System, part: str) -> AsyncIterator[None]:
    """Another session holds the table's strongest lock."""
    connection = await until(lambda: _lock(system), "the lock", within=FIRES_WITHIN)
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
