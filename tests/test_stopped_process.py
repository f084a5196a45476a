"""A receiver that is stopped (SIGSTOP) in the middle of a request: that is not the partner's fault."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from receiver.body import BODY_SECONDS
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import local_environment
from receiver.protocol import HEADER_SECONDS
from tests.parts.connections import connected, statuses
from tests.parts.outages import Outage, waiting_run, web
from tests.support import SOON

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

BODY = b'{"status": "succeeded", "data": {"account_id": "a-1"}}'
LARGE = BODY + b" " * 900_000
"""More than a socket takes while the process is stopped."""


@pytest.fixture
def outage(tmp_path: Path) -> Outage:
    env = local_environment(
        tmp_path,
        address=f"127.0.0.1:{free_port()}",
        public_port=free_port(),
        sandbox_url=f"http://127.0.0.1:{free_port()}",
        partners="sandbox",
    )
    return Outage(env, tmp_path)


@pytest.mark.parametrize(
    ("body", "in_head", "limit"),
    [(BODY, False, BODY_SECONDS), (LARGE, False, BODY_SECONDS), (BODY, True, HEADER_SECONDS)],
    ids=["in a body", "in a large body", "in a head"],
)
async def test_a_request_that_went_on_meanwhile_is_not_too_slow(
    outage: Outage, body: bytes, in_head: bool, limit: float
) -> None:
    async with outage.temporal() as (_, client):
        handle = await waiting_run(client)
        path = outage.url_for(handle).removeprefix(outage.env["PUBLIC_URL"]).encode()
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        request = head % (path, len(body)) + body
        cut = request.index(b"\r\n\r\n") + (-5 if in_head else 10)
        port = int(outage.env["PORT"])
        async with web(outage) as (process, _http), connected(port) as (reader, writer):
            writer.write(request[:cut])
            await asyncio.sleep(0.5)  # the process reads it
            os.kill(process.pid, signal.SIGSTOP)
            try:
                stopped = time.monotonic()
                writer.write(request[cut:])
                await asyncio.sleep(limit + 1)
                assert time.monotonic() - stopped > limit
            finally:
                os.kill(process.pid, signal.SIGCONT)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3 * SOON)
    assert statuses(answer) == [202]
