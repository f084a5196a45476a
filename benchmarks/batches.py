"""What an event costs in a request with a hundred events: the receiver's CPU for it, as a share of that for a request.

`python -m benchmarks.batches`, or with DATABASE_URL for another store. A receiver process of its own is asked over
loopback, and says what CPU it has used once every event is signalled. Rounds are interleaved, and medians compared.
Temporal takes every signal at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from activities.callback_urls import CallbackURLs, Claims
from activities.environment import Environment
from activities.partners import payments
from activities.signatures import SCHEMES
from activities.store import migrations
from activities.store.calls import Calls
from activities.store.database import Database
from activities.store.store import Store
from benchmarks.answers import KEY, Taking, until_it_listens
from receiver.app import create_app
from receiver.cli.demo.processes import free_port
from receiver.sending.signals import Reached
from receiver.server import uvicorn_options

ROUNDS: Final = 7
EVENTS: Final = 100
SECRET: Final = "a-secret-of-a-benchmark-0123456789"
SETTINGS: Final = {"PAYMENTS_KEY": "a-key-of-a-benchmark-0123456789", "PAYMENTS_SECRET": SECRET}


class Counting(Taking):
    """A Temporal that takes everything, and says when it has taken `wanted` signals."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = self.wanted = 0
        self.all_taken = asyncio.Event()

    async def send(self, *args: Any, **kwargs: Any) -> Reached:
        self.taken += 1
        if self.taken == self.wanted:
            self.all_taken.set()
        return Reached.TAKEN

    async def used(self, request: Request) -> JSONResponse:
        """The CPU seconds of this process, once it has sent as many signals as `?after=` says."""
        self.wanted = int(request.query_params["after"])
        if self.taken < self.wanted:
            self.all_taken.clear()
            await self.all_taken.wait()
        return JSONResponse(time.process_time())


def serve(port: int, url: str) -> None:
    """The receiver, with the store of this URL."""
    temporal = Counting()
    partner = replace(payments.partner(Environment(SETTINGS)), rate=1e6)
    urls = CallbackURLs(f"http://127.0.0.1:{port}", [KEY])
    app = create_app(urls, {"payments": partner}, temporal, store=Store(Database(url)))
    app.router.routes.append(Route("/used", temporal.used))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", **uvicorn_options())


@contextmanager
def serving(url: str) -> Iterator[int]:
    """A receiver process; its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.batches", str(port), url]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def request(references: Sequence[str]) -> tuple[bytes, list[tuple[str, str]]]:
    """Body and headers of a request with an event for each reference."""
    items = [{"eventCode": "AUTHORISATION", "success": "true", "pspReference": one} for one in references]
    body = json.dumps({"notificationItems": [{"NotificationRequestItem": item} for item in items]}).encode()
    proof = SCHEMES["github"](secrets=[SECRET]).sign(body, url="", now=0.0, delivery_id="")
    return body, [("Content-Type", "application/json"), *proof]


async def called(calls: Calls, number: int) -> list[str]:
    """The references of so many new calls, each of a run of its own."""
    references = [uuid.uuid4().hex for _ in range(number)]
    for one in references:
        await calls.refer(Claims(f"run-{one}", one, 1, 1, "payments", 1, 2**32), one)
    return references


class Partner:
    """Sends events to the receiver, and asks what they have cost."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._sent = 0

    async def cost(self, references: Sequence[str], together: int) -> float:
        """CPU seconds of the receiver until all events are signalled. together: the events of a request."""
        groups = [references[first : first + together] for first in range(0, len(references), together)]
        requests = [request(group) for group in groups]
        began = await self._used()
        for body, headers in requests:
            answer = await self._http.post("/partners/payments", content=body, headers=headers)
            assert answer.text == "[accepted]", answer.text
        self._sent += len(references)
        return await self._used() - began

    async def _used(self) -> float:
        return float((await self._http.get("/used", params={"after": self._sent})).text)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("DATABASE_URL", f"sqlite:///{folder}/bench.db")
        database = Database(url)
        migrations.upgrade(database)
        costs: dict[int, list[float]] = {1: [], EVENTS: []}
        with serving(url) as port:
            await until_it_listens(port)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
                partner = Partner(http)
                for _ in range(ROUNDS):
                    for together, found in costs.items():
                        found.append(await partner.cost(await called(Calls(database), EVENTS), together))
        single, batch = (statistics.median(costs[together]) for together in (1, EVENTS))
        shown = f"{single * 1000:.1f} ms in {EVENTS} requests, {batch * 1000:.1f} ms in one"
        print(f"{EVENTS} events: {shown}: {batch / single:.2f} of the CPU")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(int(sys.argv[1]), sys.argv[2])
    else:
        asyncio.run(main())
