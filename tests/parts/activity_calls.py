"""Calls to a partner, made by the activity of a worker."""

from __future__ import annotations

import dataclasses

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs, Claims
from activities.calls import PartnerCalls
from tests.support import KEY
from workflows.contract import Receipt, StageCall

CALL = StageCall("run-1", "chain-1", 2, "account-check", "bank", 1, 1_800_000_000, 1_900_000_000, {"iban": "GB33"})
ENDPOINT = "http://sandbox.test/bank/calls"
CALLBACK_URL = CallbackURLs("https://hooks.test", [KEY]).issue(Claims.of(CALL))
TOKEN = CALLBACK_URL.rpartition("/")[2]


async def make(
    calls: PartnerCalls, call: StageCall = CALL, *, attempt: int = 1, heartbeats: list[object] | None = None
) -> tuple[Receipt, list[object]]:
    """Run the activity as its n-th try; return its receipt and the heartbeats it sent."""
    beats: list[object] = []
    env = ActivityEnvironment()
    env.info = dataclasses.replace(env.info, attempt=attempt, heartbeat_details=heartbeats or [])
    env.on_heartbeat = lambda *details: beats.extend(details)
    return await env.run(calls.call_partner, call), beats


async def refusal(calls: PartnerCalls, *, attempt: int = 1, heartbeats: list[object] | None = None) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await make(calls, attempt=attempt, heartbeats=heartbeats)
    return raised.value


async def refusal_of(calls: PartnerCalls, call: StageCall, *, attempt: int = 1) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await make(calls, call, attempt=attempt)
    return raised.value
