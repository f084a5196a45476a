"""Webhooks of seven providers at the receiver's door: each reaches the stage of the call that it is about."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from activities.callback_urls import Claims
from activities.partners.partner import Partner
from activities.signatures import Scheme, SignedRequest
from activities.store.calls import Calls
from activities.store.database import Database
from activities.store.store import Store
from receiver.app import create_app
from receiver.deliveries.archive import Archive
from receiver.sending.signal import Signal
from receiver.sending.signals import Reached
from tests.parts.callbacks import BASE, URLS
from tests.parts.hmac_requests import scheme
from tests.parts.providers import CHECKR, DOCUSIGN, GOCARDLESS, MOLLIE, ONFIDO, PLAID, SENDGRID
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT
from workflows.contract import Answer

REFERENCE = "PM-0123"
"""The provider's id of the work, in its answer to the call."""

OUR_URL = "OUR-CALLBACK-URL"
"""Replaced by the callback URL of the call."""

ENVELOPE = (
    '<DocuSignEnvelopeInformation xmlns="http://www.docusign.net/API/3.0"><EnvelopeStatus><EnvelopeID>PM-0123'
    "</EnvelopeID><Status>Completed</Status></EnvelopeStatus></DocuSignEnvelopeInformation>"
)
CHECK = {"payload": {"resource_type": "check", "action": "check.completed", "object": {"id": REFERENCE}}}
REPORT = {"type": "report.completed", "data": {"object": {"id": REFERENCE, "object": "report", "result": "clear"}}}
MAILS = [{"event": "open", "sg_event_id": "e0"}, {"event": "delivered", "sg_event_id": "e1", "callback_url": OUR_URL}]
PAYMENT = {"resource_type": "payments", "action": "confirmed", "links": {"payment": REFERENCE}}
MANDATE = {"resource_type": "mandates", "action": "created", "links": {"mandate": "MD1"}}
VERIFICATION = {
    "webhook_type": "IDENTITY_VERIFICATION",
    "webhook_code": "STATUS_UPDATED",
    "identity_verification_id": REFERENCE,
}


class Listening(Switchable):
    """A Temporal that notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Claims, Answer]] = []

    async def send(self, signal: Signal, *, within: float = 2.2) -> Reached:
        reached = await super().send(signal, within=within)
        self.heard.append((signal.claims, signal.callback.answer))
        return reached


def called(partner: Partner) -> Claims:
    return Claims("run", "chain", 1, 1, partner.name, 1_790_000_000, 4_000_000_000)


async def posted(database: Database, temporal: Listening, partner: Partner, body: bytes) -> httpx.Response:
    """The answer to a body that the partner has signed, at the URL that it calls."""
    url = f"{BASE}/partners/{partner.name}" if partner.has_one_url else URLS.issue(called(partner))
    request = SignedRequest("POST", url, [("Content-Type", partner.media_types[0])], body)
    if partner.signature is not None:
        request = partner.signature.sign_request(request, now=time.time(), delivery_id="d-1")
    app = create_app(URLS, {partner.name: partner}, temporal, store=Store(database), timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http,
    ):
        answer = await http.post(request.url, content=request.body, headers=list(request.headers))
        if answer.is_success:
            await eventually(lambda: len(temporal.heard) > 0)
        return answer


@pytest.mark.parametrize(
    ("partner", "body", "answer"),
    [
        (PLAID, VERIFICATION, Answer("ask", message="STATUS_UPDATED")),
        (ONFIDO, CHECK, Answer("ask", message="check.completed")),
        (CHECKR, REPORT, Answer("succeeded", data={"report": REFERENCE})),
        (SENDGRID, MAILS, Answer("succeeded")),
        (MOLLIE, f"id={REFERENCE}", Answer("ask", message=REFERENCE)),
        (DOCUSIGN, ENVELOPE, Answer("succeeded", data={"envelope": REFERENCE})),
        (GOCARDLESS, {"events": [MANDATE, PAYMENT]}, Answer("succeeded", data={"payment": REFERENCE})),
    ],
    ids=lambda value: value.name if isinstance(value, Partner) else "",
)
async def test_a_providers_webhook_reaches_the_stage_it_is_about(
    database: Database, partner: Partner, body: Any, answer: Answer
) -> None:
    claims, temporal, calls = called(partner), Listening(), Calls(database)
    await calls.begin(claims)
    await calls.refer(claims, REFERENCE)
    text = body if isinstance(body, str) else json.dumps(body)
    response = await posted(database, temporal, partner, text.replace(OUR_URL, URLS.issue(claims)).encode())
    expected = 200 if "accepted" in partner.answers else 202
    assert (response.status_code, temporal.heard) == (expected, [(claims, answer)])


IN_QUERY = scheme(secrets=("not-a-secret",), signature="query:sig", signed="{method}{url}{body}")
IN_HEADER = scheme("header-secret", secrets=("not-a-secret",), header="X-Check")


@pytest.mark.parametrize("proven_by", [IN_QUERY, IN_HEADER])
async def test_a_proof_elsewhere_is_checked_and_no_secret_kept(database: Database, proven_by: Scheme) -> None:
    partner, temporal = replace(MOLLIE, signature=proven_by), Listening()
    response = await posted(database, temporal, partner, f"id={REFERENCE}".encode())
    assert response.is_success
    (kept,) = Archive(database).every()
    assert "not-a-secret" not in str(kept)
    assert dict(kept.headers).get("content-type") == "application/x-www-form-urlencoded"
