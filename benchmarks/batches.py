"""What an event costs in a request with a hundred events: the receiver's CPU for it, beside that of a request for each.

DATABASE_URL names another store than SQLite. Temporal takes every signal at once.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from contextlib import ExitStack
from typing import Final

from activities.callback_urls import Claims
from activities.store import migrations
from activities.store.calls import Calls
from activities.store.database import Database
from benchmarks.callers import Caller, signed, started
from benchmarks.figures import Figure, compared, interleaved

ROUNDS: Final = 7
EVENTS: Final = 100
SINGLE: Final = f"{EVENTS} requests"


async def measure(rounds: int = ROUNDS) -> list[Figure]:
    """Milliseconds of CPU for the events, in one request and in a request each."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = os.environ.get("DATABASE_URL", f"sqlite:///{folder}/bench.db")
        database = Database(url)
        migrations.upgrade(database)
        caller = await started(stack, "receiver", url)
        calls = Calls(database)
        ways = {
            SINGLE: lambda: _cost(caller, calls, together=1),
            "one request": lambda: _cost(caller, calls, together=EVENTS),
        }
        return compared("batches", f"{EVENTS} events", "CPU", "ms", await interleaved(rounds, ways), SINGLE)


async def _cost(caller: Caller, calls: Calls, together: int) -> float:
    """Milliseconds of the receiver's CPU for the events of new calls. together: the events of a request."""
    references = await _called(calls)
    requests = [_request(references[first : first + together]) for first in range(0, EVENTS, together)]
    cost = await caller.cost(requests, connections=1, events=together)
    return cost.cpu * len(requests)


async def _called(calls: Calls) -> list[str]:
    """The references of new calls, each of a run of its own."""
    references = [uuid.uuid4().hex for _ in range(EVENTS)]
    for one in references:
        await calls.refer(Claims(f"run-{one}", one, 1, 1, "payments", 1, 2**32), one)
    return references


def _request(references: list[str]) -> bytes:
    items = [{"eventCode": "AUTHORISATION", "success": "true", "pspReference": one} for one in references]
    notifications = [{"NotificationRequestItem": item} for item in items]
    return signed("/partners/payments", json.dumps({"notificationItems": notifications}).encode())
