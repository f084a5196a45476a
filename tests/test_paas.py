"""Processes as a PaaS runs them: only what production needs installed, stopped under load, killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.client import Client

from activities.callback_urls import CallbackURLs, Claims
from activities.store.database import Database
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import local_environment, stagehook_command
from receiver.deliveries.archive import Archive
from receiver.lifecycle import PortTaken, check_port
from tests.local_stack import running
from tests.parts.outages import Outage, ready, web
from tests.support import Handle, ScriptedPartner, result_of, stage, start, waiting, working
from workflows.contract import PIPELINE_WORKFLOW, Pipeline, PipelineRun

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[1]
WEB_GONE_WITHIN = 3 * 10
WORKER_GONE_WITHIN = 3 * 25


@pytest.fixture
def outage(tmp_path: Path) -> Outage:
    env = local_environment(
        tmp_path,
        address=f"127.0.0.1:{free_port()}",
        public_port=free_port(),
        sandbox_url=f"http://127.0.0.1:{free_port()}",
        partners="sandbox",
    )
    return Outage({**env, "WEB_CONCURRENCY": "2"}, tmp_path)


async def until(holds: Callable[[], bool], within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(0.05)


async def gone(process: subprocess.Popen[bytes], within: float) -> int:
    await until(lambda: process.poll() is not None, within)
    return process.returncode


# --- web


@pytest.mark.parametrize("times", [1, 2])
async def test_sigterm_under_load_loses_no_callback_that_was_answered(outage: Outage, times: int) -> None:
    """In-flight requests are answered, or their connection ends; what was answered 202 is in the history."""
    answered: list[int] = []

    async def send(http: httpx.AsyncClient, url: str, n: int) -> None:
        try:
            answer = await http.post(url, json={"id": str(n), "status": "progress", "data": {"message": str(n)}})
        except httpx.TransportError:
            return
        if answer.status_code == 202:
            answered.append(n)

    async with outage.temporal() as (_, client):
        async with working(client, ScriptedPartner()):
            handle = await start(client, stage(1, partner="sandbox"))
            await waiting(handle)
        async with web(outage) as (server, http):
            url = outage.url_for(handle)
            load = [asyncio.create_task(send(http, url, n)) for n in range(60)]
            await until(lambda: len(answered) >= 5)
            for _ in range(times):
                server.terminate()
                await asyncio.sleep(0.05)
            assert await gone(server, WEB_GONE_WITHIN) == 0
            await asyncio.gather(*load)
        history = "".join([str(event) async for event in handle.fetch_history_events()])
    assert answered
    assert [n for n in answered if f'\\"message\\":\\"{n}\\"' not in history] == []


async def test_sigterm_with_a_half_sent_body_ends_in_time_with_code_0(outage: Outage) -> None:
    async with outage.temporal() as (_, client):
        async with working(client, ScriptedPartner()):
            handle = await start(client, stage(1, partner="sandbox"))
            await waiting(handle)
        async with web(outage) as (server, _http):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(outage.env["PORT"]))
            path = outage.url_for(handle).removeprefix(outage.env["PUBLIC_URL"])
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{"
            writer.write(head.encode())
            await writer.drain()
            await asyncio.sleep(0.3)
            server.terminate()
            assert await gone(server, WEB_GONE_WITHIN) == 0
            assert b" 202 " not in await reader.read()
            writer.close()


async def test_a_client_that_is_gone_before_its_answer_has_been_heard(outage: Outage) -> None:
    async with outage.temporal() as (_, client):
        async with working(client, ScriptedPartner()):
            handle = await start(client, stage(1, partner="sandbox"))
            await waiting(handle)
            async with web(outage) as (_server, http):
                _, writer = await asyncio.open_connection("127.0.0.1", int(outage.env["PORT"]))
                url = outage.url_for(handle)
                body = '{"status":"succeeded"}'
                head = (
                    f"POST {url.removeprefix(outage.env['PUBLIC_URL'])} HTTP/1.1\r\nHost: x\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                writer.write((head + body).encode())
                await writer.drain()
                writer.transport.abort()
                assert (await result_of(handle)).outcomes["step-1"].cause == "callback"
                again = await http.post(url, content=body, headers={"Content-Type": "application/json"})
                assert again.status_code == 202
        signals = [event async for event in handle.fetch_history_events() if event.event_type == 26]  # signaled
    assert len(signals) == 1


async def test_no_process_outlives_a_receiver_that_was_killed(outage: Outage) -> None:
    def is_free() -> bool:
        try:
            check_port("127.0.0.1", int(outage.env["PORT"]))
        except PortTaken:
            return False
        return True

    async with outage.temporal(), web(outage) as (serving, _):
        assert not is_free()
        serving.kill()
        await until(is_free, WEB_GONE_WITHIN)


# --- keys


async def test_keys_rotate_under_traffic_and_no_live_url_is_refused(outage: Outage) -> None:
    """Two receivers that are deployed one after the other, and URLs that either generation has issued."""
    old = outage.env["CALLBACK_KEYS"]
    new = "a-new-key-for-tests-9876543210-zyxwvuts"
    phases = [old, f"{old},{new}", f"{new},{old}"]
    async with outage.temporal() as (_, client):
        for before, after in itertools.pairwise(phases):
            generations = []
            for number, keys in enumerate((before, after)):
                folder = outage.folder / f"{phases.index(after)}-{number}"
                folder.mkdir()
                port = str(free_port())
                env = {**outage.env, "CALLBACK_KEYS": keys, "PORT": port, "WEB_CONCURRENCY": "1"}
                generations.append(Outage({**env, "PUBLIC_URL": f"http://127.0.0.1:{port}"}, folder))
            async with web(generations[0]) as (_a, first), web(generations[1]) as (_b, second):
                for signing in (before, after):
                    handle = await start(client, stage(1, partner="sandbox"), id=uuid.uuid4().hex)
                    claims = Claims(
                        handle.id, handle.first_execution_run_id or "", 1, 1, "sandbox", 1_790_000_000, 2**35
                    )
                    path = CallbackURLs("", signing.split(",")).issue(claims)
                    answers = await asyncio.gather(
                        *(http.post(path, json={"status": "progress"}) for http in (first, second) for _ in range(10))
                    )
                    assert {answer.status_code for answer in answers} == {202}


# --- worker


class Listener:
    """A partner that notes every request, and hangs until it is told to answer."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.answers = asyncio.Event()
        self.app = Starlette(routes=[Route("/sandbox/calls", self.take, methods=["POST"])])

    async def take(self, request: Request) -> Response:
        self.requests.append((request.headers["idempotency-key"], await request.body()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.answers.wait(), 60)
        return JSONResponse({"id": "w-1", "status": "succeeded"})


@asynccontextmanager
async def listening(outage: Outage) -> AsyncIterator[Listener]:
    listener = Listener()
    port = int(outage.env["SANDBOX_URL"].rpartition(":")[2])
    config = uvicorn.Config(
        listener.app, host="127.0.0.1", port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    yield listener
    server.should_exit = True
    await serving


async def start_for_processes(client: Client, call_timeout: float) -> Handle:
    """A run on the queue that the worker process serves."""
    definition = Pipeline("testing", [stage(1, partner="sandbox", call_timeout=call_timeout)])
    return await client.start_workflow(PIPELINE_WORKFLOW, PipelineRun(definition), id="run", task_queue="stagehook")


async def test_a_worker_killed_in_a_call_repeats_it_with_the_same_key(outage: Outage) -> None:
    async with outage.temporal() as (_, client), listening(outage) as partner:
        log = outage.folder / "worker.log"
        with running(stagehook_command("worker"), outage.env, log):
            handle = await start_for_processes(client, call_timeout=4.0)
            await until(lambda: len(partner.requests) == 1)
        partner.answers.set()
        with running(stagehook_command("worker"), outage.env, log):
            await asyncio.wait_for(handle.result(), 60)
    first, second = partner.requests[:2]
    assert first == second
    assert "/callbacks/" in first[1].decode()


async def test_a_worker_stopped_in_a_call_lets_it_finish(outage: Outage) -> None:
    async with outage.temporal() as (_, client), listening(outage) as partner:
        with running(stagehook_command("worker"), outage.env, outage.folder / "worker.log") as worker:
            handle = await start_for_processes(client, call_timeout=30.0)
            await until(lambda: len(partner.requests) == 1)
            worker.terminate()
            worker.terminate()
            await asyncio.sleep(1)
            partner.answers.set()
            assert await gone(worker, WORKER_GONE_WITHIN) == 0
        completed = [event async for event in handle.fetch_history_events() if event.event_type == 12]
    assert (len(partner.requests), len(completed)) == (1, 1)  # one activity task completed


# --- installed as in production


async def test_web_and_worker_run_with_production_dependencies_only(outage: Outage) -> None:
    """As the PaaS does: `uv sync --locked --no-default-groups`, the Procfile's lines, PORT and WEB_CONCURRENCY."""
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    environment = outage.folder / "venv"
    settings = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment), "UV_PYTHON": sys.executable}
    installing = await asyncio.create_subprocess_exec(
        uv, "sync", "--locked", "--no-default-groups", "--quiet", "--project", str(ROOT), env=settings
    )
    assert await installing.wait() == 0
    assert not list(environment.glob("bin/temporal*"))
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    env = {**outage.env, "PATH": f"{environment / 'bin'}:{os.environ['PATH']}"}
    env["DATABASE_URL"] = f"sqlite:///{outage.folder}/deliveries.db"
    for name in ("release", "postdeploy"):
        upgrading = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"exec {procfile[name]}", env=env)
        assert await asyncio.wait_for(upgrading.wait(), 60) == 0
    async with outage.temporal() as (_, client), listening(outage) as partner:
        partner.answers.set()
        with (
            running(["/bin/sh", "-c", f"exec {procfile['web']}"], env, outage.folder / "web.log") as running_web,
            running(["/bin/sh", "-c", f"exec {procfile['worker']}"], env, outage.folder / "worker.log") as worker,
        ):
            handle = await start_for_processes(client, call_timeout=30.0)
            await asyncio.wait_for(handle.result(), 60)
            await ready(outage.env["PUBLIC_URL"])
            async with httpx.AsyncClient(trust_env=False) as http:
                forged = await http.post(outage.env["PUBLIC_URL"] + "/callbacks/forged", json={})
            assert forged.status_code == 404
            began = time.monotonic()
            for process in (running_web, worker):
                process.send_signal(signal.SIGTERM)
            assert await gone(running_web, WEB_GONE_WITHIN) == 0
            assert await gone(worker, WORKER_GONE_WITHIN) == 0
            assert time.monotonic() - began < WORKER_GONE_WITHIN
    assert [one.verdict for one in Archive(Database(env["DATABASE_URL"])).every()] == ["unknown"]
