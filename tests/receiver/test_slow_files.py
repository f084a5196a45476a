"""A partner's file that takes too long is answered 503, and holds up nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx

from activities.partners import sandbox
from activities.partners.events import Event
from activities.partners.received import Received
from receiver import reading
from receiver.reading import FILE_SECONDS, MAX_THREADS, THREAD_FROM
from tests.parts.callbacks import CLAIMS, DONE, URLS
from tests.parts.one_url import receiver
from tests.support import RUN_TIMEOUT

LARGE = {**DONE, "pad": "x" * THREAD_FROM}


async def post(http: httpx.AsyncClient, body: Any) -> int:
    return (await http.post(URLS.issue(CLAIMS), json=body)).status_code


async def test_files_that_hang_hold_up_nothing_else() -> None:
    end = threading.Event()

    def read_event(received: Received) -> Event:
        if len(received.body) >= THREAD_FROM:
            end.wait(RUN_TIMEOUT)
        return sandbox.read_event(received)

    async with receiver(read_event=read_event) as http:
        try:
            answers = await asyncio.gather(*(post(http, LARGE) for _ in range(2 * MAX_THREADS)))
            assert answers == [503] * 2 * MAX_THREADS
            hanging = [thread for thread in threading.enumerate() if thread.name == "reading"]
            assert len(hanging) == MAX_THREADS
            assert all(thread.daemon for thread in hanging), "the process may end before they do"
            async with asyncio.timeout(3 * FILE_SECONDS):
                await asyncio.to_thread(time.monotonic)  # the store's end uses asyncio's pool
                await asyncio.get_running_loop().shutdown_default_executor()
        finally:
            end.set()
        for thread in hanging:
            thread.join(RUN_TIMEOUT)
    assert all(reading._THREADS.acquire(blocking=False) for _ in range(MAX_THREADS)), "each gave its place back"
    for _ in range(MAX_THREADS):
        reading._THREADS.release()


async def test_a_file_that_is_slow_with_a_small_body_is_503_as_well() -> None:
    def read_event(received: Received) -> Event:
        time.sleep(FILE_SECONDS + 0.01)
        return sandbox.read_event(received)

    async with receiver(read_event=read_event) as http:
        assert await post(http, DONE) == 503
