"""Receiver processes, and a Temporal server that comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from temporalio.client import Client

from activities.callback_urls import CallbackURLs, Claims
from receiver.cli.demo.stack import stagehook_command, temporal_server
from tests.local_stack import running
from tests.support import Handle, ScriptedPartner, stage, start, waiting, working

STARTS_WITHIN = 120.0
"""Seconds. Nothing is promised of a start: on a busy machine, the imports alone take half a minute."""


@dataclass
class Outage:
    """A receiver process, and a Temporal server that comes and goes on one address with one database."""

    env: dict[str, str]
    folder: Path

    @property
    def port(self) -> int:
        return int(self.env["TEMPORAL_ADDRESS"].rpartition(":")[2])

    @asynccontextmanager
    async def temporal(self) -> AsyncIterator[tuple[subprocess.Popen[bytes], Client]]:
        command = temporal_server(self.port, self.folder / "temporal.db")
        with running(command, self.env, self.folder / "temporal.log") as server:
            async with asyncio.timeout(STARTS_WITHIN):
                while True:
                    try:
                        client = await Client.connect(self.env["TEMPORAL_ADDRESS"])
                        break
                    except RuntimeError:
                        await asyncio.sleep(0.1)
            yield server, client

    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[httpx.AsyncClient]:
        with running(stagehook_command("serve"), self.env, self.folder / "web.log"):
            async with httpx.AsyncClient(base_url=self.env["PUBLIC_URL"], trust_env=False, timeout=30) as http:
                async with asyncio.timeout(STARTS_WITHIN):
                    while True:
                        try:
                            assert (await http.get("/healthz")).status_code == 200
                            break
                        except httpx.TransportError:
                            await asyncio.sleep(0.1)
                yield http

    def url_for(self, handle: Handle) -> str:
        claims = Claims(handle.id, handle.first_execution_run_id or "", 1, 1, "sandbox", 1_790_000_000, 4_000_000_000)
        return CallbackURLs(self.env["PUBLIC_URL"], [self.env["CALLBACK_KEYS"]]).issue(claims)

    def log_lines(self) -> int:
        return len((self.folder / "web.log").read_text().splitlines())


async def waiting_run(client: Client) -> Handle:
    """A run that waits for its first callback, with no worker about."""
    async with working(client, ScriptedPartner()):
        handle = await start(client, stage(1, partner="sandbox"))
        await waiting(handle)
    return handle


@asynccontextmanager
async def web(outage: Outage) -> AsyncIterator[tuple[subprocess.Popen[bytes], httpx.AsyncClient]]:
    with running(stagehook_command("serve"), outage.env, outage.folder / "web.log") as serving:
        async with httpx.AsyncClient(base_url=outage.env["PUBLIC_URL"], trust_env=False, timeout=30) as http:
            await ready(outage.env["PUBLIC_URL"])
            yield serving, http


async def ready(public_url: str) -> None:
    async with httpx.AsyncClient(base_url=public_url, trust_env=False) as http, asyncio.timeout(STARTS_WITHIN):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
