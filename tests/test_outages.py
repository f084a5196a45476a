"""Temporal away, as real processes: every answer in time, nothing lost or doubled, no restart needed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from activities.store import migrations
from activities.store.database import Database
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import local_environment, stagehook_command
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from tests.local_stack import running
from tests.parts.callbacks import DONE
from tests.parts.outages import Outage, waiting_run
from tests.support import SOON, Handle, ScriptedPartner, pipeline, stage, until, working
from workflows.contract import PIPELINE_WORKFLOW, PipelineRun

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

ANSWER_WITHIN = 3 * 2.5
LOG_LINES_PER_REQUEST = 8
MUTE_GIVEN_UP_WITHIN = 2 * 15
"""Well below the 45 s that it takes by Temporal's own settings."""


@pytest.fixture
def outage(tmp_path: Path) -> Outage:
    env = local_environment(
        tmp_path,
        address=f"127.0.0.1:{free_port()}",
        public_port=free_port(),
        sandbox_url="http://127.0.0.1:9",
        partners="sandbox",
    )
    return Outage(env, tmp_path)


async def answer_in_time(http: httpx.AsyncClient, url: str) -> httpx.Response:
    began = time.monotonic()
    answer = await http.post(url, json=DONE)
    assert time.monotonic() - began < ANSWER_WITHIN
    return answer


async def refused_in_time(http: httpx.AsyncClient, url: str, times: int = 3) -> None:
    for answer in await asyncio.gather(*(answer_in_time(http, url) for _ in range(times))):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/healthz")).status_code == 200


async def taken_at_last(http: httpx.AsyncClient, url: str) -> None:
    """As a partner that tries again does."""
    async with asyncio.timeout(3 * SOON):
        while (await http.post(url, json=DONE)).status_code != 202:
            await asyncio.sleep(0.2)


async def settled_once(client: Client) -> None:
    handle: Handle = client.get_workflow_handle("run")
    async with working(client, ScriptedPartner()):
        await asyncio.wait_for(handle.result(), 3 * SOON)
    signals = [event async for event in handle.fetch_history_events() if event.event_type == 26]  # signaled
    assert len(signals) == 1


async def test_temporal_is_killed_and_comes_back(outage: Outage) -> None:
    async with outage.receiver() as http:
        async with outage.temporal() as (_, client):
            handle = await waiting_run(client)
        before = outage.log_lines()
        await refused_in_time(http, outage.url_for(handle))
        assert outage.log_lines() - before < 6 * LOG_LINES_PER_REQUEST
        async with outage.temporal() as (_, client):
            await taken_at_last(http, outage.url_for(handle))
            await settled_once(client)


async def test_temporal_hangs_and_goes_on(outage: Outage) -> None:
    """It may have taken what it did not answer: the same request id makes the retry one with it."""
    async with outage.receiver() as http, outage.temporal() as (server, client):
        handle = await waiting_run(client)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await refused_in_time(http, outage.url_for(handle))
            await asyncio.sleep(35)
            await refused_in_time(http, outage.url_for(handle))
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await taken_at_last(http, outage.url_for(handle))
        await settled_once(client)


async def test_a_temporal_that_cannot_write_costs_no_delivery_a_try(outage: Outage) -> None:
    """Its database is locked: it answers what it is asked, and takes no signal."""
    store = Database(f"sqlite:///{outage.folder}/deliveries.db")
    migrations.upgrade(store)
    outage.env["DATABASE_URL"] = f"sqlite:///{outage.folder}/deliveries.db"
    async with outage.temporal() as (_, client), outage.receiver() as http:
        handle = await waiting_run(client)
        lock = sqlite3.connect(outage.folder / "temporal.db", isolation_level=None)
        with contextlib.closing(lock):
            lock.execute("BEGIN IMMEDIATE")
            assert (await answer_in_time(http, outage.url_for(handle))).status_code == 202
            await asyncio.sleep(15)
            (kept,) = Archive(store).latest()
            assert (kept.fate, kept.tries) == (Fate.PENDING, 0)
        async with asyncio.timeout(3 * SOON):
            while Archive(store).get(kept.id).fate is not Fate.TAKEN:
                await asyncio.sleep(0.2)
        await settled_once(client)


Silence = Callable[[int], AbstractContextManager[None]]


@contextmanager
def mute(port: int) -> Iterator[None]:
    """Somebody else on Temporal's port: takes connections and never says a word."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(100)
        yield


@contextmanager
def black_hole(port: int) -> Iterator[None]:
    """A backlog that is full: further connections are not even refused."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("silence", [mute, black_hole])
async def test_temporals_address_is_silent_until_it_is_there(outage: Outage, silence: Silence) -> None:
    async with outage.temporal() as (_, client):
        handle = await waiting_run(client)
    async with contextlib.AsyncExitStack() as serving:
        with silence(outage.port):
            http = await serving.enter_async_context(outage.receiver())
            await refused_in_time(http, outage.url_for(handle))
        async with outage.temporal() as (_, client):
            await taken_at_last(http, outage.url_for(handle))
            await settled_once(client)


class Mutable:
    """A proxy before Temporal, of which the connections that are open can go mute while new ones work."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._open: list[asyncio.StreamWriter] = []
        self._piping: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def on(self, port: int) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._take, "127.0.0.1", port)
        try:
            yield
        finally:
            server.close()
            self.go_mute()
            for writer in self._open:
                writer.transport.abort()

    def go_mute(self) -> None:
        for task in self._piping:
            task.cancel()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        others_reader, others_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._open += writer, others_writer
        for one, other in ((reader, others_writer), (others_reader, writer)):
            self._piping.add(asyncio.create_task(self._pipe(one, other)))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()


async def test_a_connection_to_temporal_that_goes_mute_is_given_up(outage: Outage) -> None:
    """The receiver is given another one, as behind a load balancer that forgot the first; nothing is restarted."""
    direct = outage.env["TEMPORAL_ADDRESS"]
    proxy, port = Mutable(int(direct.rpartition(":")[2])), free_port()
    async with outage.temporal() as (_, client), proxy.on(port):
        handle = await waiting_run(client)
        outage.env["TEMPORAL_ADDRESS"] = f"127.0.0.1:{port}"
        async with outage.receiver() as http:
            url = outage.url_for(handle)
            assert (await http.post(url, json={"status": "progress"})).status_code == 202
            proxy.go_mute()
            assert (await http.post(url, json={"status": "progress"})).status_code == 503
            async with asyncio.timeout(MUTE_GIVEN_UP_WITHIN):
                while (await http.post(url, json={"status": "progress"})).status_code != 202:
                    await asyncio.sleep(0.2)


async def test_a_wrong_namespace_is_our_fault_and_not_the_partners(outage: Outage) -> None:
    async with outage.temporal() as (_, client):
        handle = await waiting_run(client)
        outage.env["TEMPORAL_NAMESPACE"] = "missing"
        async with outage.receiver() as http:
            await refused_in_time(http, outage.url_for(handle))
    assert "the namespace does not exist" in (outage.folder / "web.log").read_text()


async def test_a_long_outage_fills_no_log(outage: Outage) -> None:
    """With nobody calling, receiver and worker that have lost Temporal say next to nothing, the SDK's core included."""
    log = outage.folder / "worker.log"
    async with outage.receiver():
        with running(stagehook_command("worker"), outage.env, log) as worker:
            async with outage.temporal():
                async with asyncio.timeout(3 * SOON):
                    while "started task_queue" not in log.read_text():
                        await asyncio.sleep(0.1)
            web_before, worker_before = outage.log_lines(), len(log.read_text().splitlines())
            await asyncio.sleep(40)
            assert outage.log_lines() - web_before < 10
            assert len(log.read_text().splitlines()) - worker_before < 60
            async with outage.temporal() as (_, client):
                run = PipelineRun(pipeline(stage(1, partner="sandbox")))
                handle: Handle = await client.start_workflow(PIPELINE_WORKFLOW, run, id="run", task_queue="stagehook")
                # The SDK asks again after pauses that have grown with the outage.
                await until(handle, 1, lambda stage: stage.state == "calling", within=90)
            assert worker.poll() is None


async def test_a_worker_waits_for_a_missing_namespace_and_says_so(outage: Outage) -> None:
    log = outage.folder / "worker.log"
    env = {**outage.env, "TEMPORAL_NAMESPACE": "missing"}
    async with outage.temporal():
        with running(stagehook_command("worker"), env, log) as worker:
            async with asyncio.timeout(3 * SOON):
                while "temporal-away" not in log.read_text():
                    await asyncio.sleep(0.1)
            assert "namespace missing: the namespace does not exist" in log.read_text()
            assert "cause=namespace-missing" in log.read_text()
            worker.terminate()
            async with asyncio.timeout(3 * SOON):
                while worker.poll() is None:
                    await asyncio.sleep(0.1)
            assert worker.returncode == 0
