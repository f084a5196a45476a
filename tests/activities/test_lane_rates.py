"""The rates of lanes on a server with Temporal's default of four partitions for each task queue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import httpx
import respx

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import http_client
from activities.lanes import PARTITIONS
from activities.partners import sandbox
from activities.worker import build_worker
from tests.parts.temporal import serving, with_new_namespace
from tests.support import KEY, QUEUE, RUN_TIMEOUT, stage, start

RATE, SECONDS = 5.0, 5.0


async def test_a_rated_lane_is_used_in_all_its_partitions() -> None:
    """Each has its share of the rate. With one poll, 14 to 18 calls began in the 5 s; with five, 27 to 29."""
    begun: list[float] = []
    over = asyncio.Event()

    def take(request: httpx.Request) -> httpx.Response:
        begun.append(time.monotonic())
        if begun[-1] >= begun[0] + SECONDS:
            over.set()
        return httpx.Response(202, json={"id": "work-1"})

    partner = replace(
        sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"})), calls_per_second=RATE
    )
    partitions = [f"matching.numTaskqueue{part}Partitions={PARTITIONS}" for part in ("Read", "Write")]
    with serving(*partitions) as address, respx.mock as router:
        router.post("http://sandbox.test/bank/calls").mock(side_effect=take)
        client = (await with_new_namespace(address)).client
        async with http_client() as http:
            calls = PartnerCalls(http, CallbackURLs("http://receiver.test", [KEY]), {"bank": partner})
            for number in range(50):
                await start(client, stage(1, partner="bank"), id=f"run-{number}")
            async with build_worker(client, calls, task_queue=QUEUE), asyncio.timeout(RUN_TIMEOUT):
                await over.wait()
    count = sum(moment < begun[0] + SECONDS for moment in begun)
    assert 21 <= count <= RATE * SECONDS + 2 * PARTITIONS
