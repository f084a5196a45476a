"""New partner: what it is sent, and how its answers are read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
import respx
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import http_client
from activities.partners.events import Event
from activities.partners.received import Received, Unreadable
from receiver.cli.partner.sample import new_partner
from workflows.contract import Answer, StageCall

VARIABLES = {
    "NEW_PARTNER_URL": "https://api.new-partner.example",
    "NEW_PARTNER_KEY": "not-a-key",
    "NEW_PARTNER_SECRET": "not-a-secret",
}
URLS = CallbackURLs("https://hooks.example.com", ["a-key-of-at-least-32-characters-0123"])
CALL = StageCall("run-1", "chain-1", 1, "first", "new-partner", 1, 1_800_000_000, 1_900_000_000, {"number": "n-1"})


@respx.mock
async def test_the_call_carries_data_key_and_callback_url() -> None:
    route = respx.post("https://api.new-partner.example/work").respond(202, json={"id": "work-1"})
    partner = new_partner.partner(Environment(VARIABLES))
    activity = ActivityEnvironment()
    activity.info = replace(activity.info, start_to_close_timeout=timedelta(seconds=30))
    async with http_client() as http:
        calls = PartnerCalls(http, URLS, {"new-partner": partner})
        receipt = await activity.run(calls.call_partner, CALL)
    request: httpx.Request = route.calls.last.request
    sent = json.loads(request.content)
    assert receipt.reference == "work-1"
    assert request.headers["Authorization"] == "Bearer not-a-key"
    assert sent["data"] == {"number": "n-1"}
    assert sent["callback_url"].startswith("https://hooks.example.com/callbacks/")


def read(body: bytes) -> list[object]:
    """Read what the partner sends."""
    received = Received(body, (("Content-Type", "application/json"),))
    return [new_partner.read_event(received)]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"status": "done", "result": {"number": "n-1"}}', Answer("succeeded", data={"number": "n-1"})),
        (b'{"status": "failed", "code": "c", "message": "m"}', Answer("failed", code="c", message="m")),
        (b'{"status": "working"}', Answer("progress")),
    ],
)
def test_a_callback_is_read_into_our_words(body: bytes, answer: Answer) -> None:
    assert read(body) == [Event(answer)]


@pytest.mark.parametrize("body", [b"", b"[null]", b"{}", b'{"status": "odd"}'])
def test_anything_else_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(body)
