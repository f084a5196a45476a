"""Seven providers' files, written from `docs/partners.md`: what they send is read as their documentation means it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
import respx
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs, Claims
from activities.calls import PartnerCalls
from activities.http import http_client
from activities.partners import answers
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.reading import text_at
from activities.partners.received import Received, Unreadable
from activities.receipts import accepted, built, status
from activities.store.calls import CallOrigin
from tests.parts.providers import CHECKR, DOCUSIGN, GOCARDLESS, MOLLIE, ONFIDO, PLAID, PROVIDERS, SENDGRID
from tests.support import KEY
from workflows.contract import Answer, Receipt, StageCall

URL = "https://hooks.test/callbacks/a-token.of-ours"
NOTHING = None
"""What is read from an event that is not ours."""


def events(partner: Partner, received: Received) -> list[Event | None]:
    """What the file reads from a request, as the receiver has it read."""
    assert received.media_type in partner.media_types
    parts = answers.split(partner, received) if partner.split else [received]
    return [answers.read_event(partner, part) for part in parts]


def sent(body: Any, media_type: str = "application/json") -> Received:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Received.of(content, [("Content-Type", media_type)])


def test_a_plaid_webhook_asks_for_the_verification_that_it_names() -> None:
    body = {
        "webhook_type": "IDENTITY_VERIFICATION",
        "webhook_code": "STATUS_UPDATED",
        "identity_verification_id": "idv_52xR9LKo77r1Np",
        "environment": "production",
    }
    told = Event(Answer("ask", message="STATUS_UPDATED"), reference="idv_52xR9LKo77r1Np")
    assert events(PLAID, sent(body)) == [told]
    item = {"webhook_type": "ITEM", "webhook_code": "ERROR", "item_id": "wz666MBjYWTp2PDzzggYhM6oWWmBb", "error": None}
    assert events(PLAID, sent(item)) == [NOTHING]


def test_an_onfido_event_asks_for_its_check() -> None:
    check = {
        "id": "8546921-123123-123123",
        "status": "complete",
        "completed_at_iso8601": "2024-01-01T10:00:00Z",
        "href": "https://api.eu.onfido.com/v3.6/checks/8546921-123123-123123",
    }
    body = {"payload": {"resource_type": "check", "action": "check.completed", "object": check}}
    told = Event(Answer("ask", message="check.completed"), reference="8546921-123123-123123")
    assert events(ONFIDO, sent(body)) == [told]
    report = {"payload": {"resource_type": "report", "action": "report.completed", "object": {"id": "r-1"}}}
    assert events(ONFIDO, sent(report)) == [NOTHING]


REPORT = {"id": "4722c07dd9a10c3985ae432a", "object": "report", "candidate_id": "e44aa283528e6fde7d542194"}


@pytest.mark.parametrize(
    ("kind", "thing", "expected"),
    [
        ("report.completed", {**REPORT, "result": "clear"}, Answer("succeeded", data={"report": REPORT["id"]})),
        ("report.completed", {**REPORT, "result": "consider"}, Answer("failed", code="consider")),
        ("report.created", REPORT, Answer("progress", message="report.created")),
        (
            "invitation.completed",
            {"id": "i-1", "report_id": REPORT["id"]},
            Answer("progress", message="invitation.completed"),
        ),
        ("candidate.created", {"id": "e44aa283528e6fde7d542194", "object": "candidate"}, None),
    ],
)
def test_a_checkr_event_holds_the_result(kind: str, thing: dict[str, Any], expected: Answer | None) -> None:
    body = {"id": "507f1f77bcf86cd799439011", "object": "event", "type": kind, "data": {"object": thing}}
    told = Event(expected, reference=REPORT["id"]) if expected else NOTHING
    assert events(CHECKR, sent(body)) == [told]


def test_sendgrid_sends_an_array_whose_events_carry_our_url() -> None:
    common = {"email": "a@example.com", "timestamp": 1513299569, "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001"}
    body = [
        {**common, "event": "processed", "sg_event_id": "e1", "callback_url": URL},
        {**common, "event": "delivered", "sg_event_id": "e2", "callback_url": URL, "response": "250 OK"},
        {**common, "event": "bounce", "sg_event_id": "e3", "callback_url": URL, "reason": "500 unknown recipient"},
        {**common, "event": "delivered", "sg_event_id": "e4"},
    ]
    assert events(SENDGRID, sent(body)) == [
        Event(Answer("progress", message="processed"), token=URL),
        Event(Answer("succeeded"), token=URL),
        Event(Answer("failed", code="bounce", message="500 unknown recipient"), token=URL),
        NOTHING,
    ]


def test_mollie_sends_a_form_that_holds_only_an_id() -> None:
    received = sent(b"id=tr_d0b0E3EA3v", "application/x-www-form-urlencoded; charset=utf-8")
    assert events(MOLLIE, received) == [Event(Answer("ask", message="tr_d0b0E3EA3v"))]


ENVELOPE = """<?xml version="1.0" encoding="utf-8"?>
<DocuSignEnvelopeInformation xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns="http://www.docusign.net/API/3.0">
  <EnvelopeStatus>
    <RecipientStatuses><RecipientStatus><Type>Signer</Type><Status>Completed</Status></RecipientStatus>
    </RecipientStatuses>
    <EnvelopeID>4c4ad2c6-1f0b-4d3c-9d4c-a1d8e5e0a3d1</EnvelopeID>
    <Status>{status}</Status>
  </EnvelopeStatus>
</DocuSignEnvelopeInformation>"""


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Completed", Answer("succeeded", data={"envelope": "4c4ad2c6-1f0b-4d3c-9d4c-a1d8e5e0a3d1"})),
        ("Declined", Answer("failed", code="declined")),
        ("Delivered", Answer("progress", message="delivered")),
    ],
)
def test_docusigns_xml_is_read_by_the_names_of_its_elements(word: str, expected: Answer) -> None:
    body = ENVELOPE.replace("{status}", word).encode()
    assert events(DOCUSIGN, sent(body, "text/xml; charset=utf-8")) == [Event(expected)]


def test_gocardless_events_are_read_each_for_itself() -> None:
    def event(kind: str, action: str, links: dict[str, str], **details: str) -> dict[str, Any]:
        return {"id": "EV1", "resource_type": kind, "action": action, "links": links, "details": details}

    body = {
        "events": [
            event("payments", "confirmed", {"payment": "PM1"}, cause="payment_confirmed"),
            event("payments", "failed", {"payment": "PM2"}, cause="insufficient_funds", description="No money."),
            event("payments", "paid_out", {"payment": "PM1", "payout": "PO1"}),
            event("refunds", "created", {"refund": "RF1", "payment": "PM1"}),
            event("mandates", "created", {"mandate": "MD1"}),
        ],
        "meta": {"webhook_id": "WB1"},
    }
    assert events(GOCARDLESS, sent(body)) == [
        Event(Answer("succeeded", data={"payment": "PM1"}), reference="PM1"),
        Event(Answer("failed", code="insufficient_funds", message="No money."), reference="PM2"),
        Event(Answer("progress", message="payments paid_out"), reference="PM1"),
        Event(Answer("progress", message="refunds created"), reference="PM1"),
        NOTHING,
    ]


@pytest.mark.parametrize("partner", PROVIDERS, ids=lambda partner: partner.name)
def test_a_webhook_of_another_form_is_unreadable(partner: Partner) -> None:
    with pytest.raises(Unreadable):
        events(partner, sent(b"{", partner.media_types[0]))


def call_of(**data: Any) -> StageCall:
    return StageCall("run-1", "chain-1", 1, "step", "any", 1, 1_800_000_000, 1_900_000_000, data)


@pytest.mark.parametrize(
    ("partner", "data", "answer", "reference"),
    [
        (PLAID, {"user": "u-1", "template": "idvtmp_1"}, {"id": "idv_1", "status": "active"}, "idv_1"),
        (ONFIDO, {"applicant": "a-1"}, {"id": "8546921", "status": "in_progress"}, "8546921"),
        (CHECKR, {"candidate": "c-1", "package": "driver_pro"}, {"id": "4722c", "status": "pending"}, "4722c"),
        (MOLLIE, {"amount": {"currency": "EUR", "value": "10.00"}}, {"id": "tr_1", "status": "open"}, "tr_1"),
        (DOCUSIGN, {"templateId": "t-1", "status": "sent"}, {"envelopeId": "4c4ad2c6", "status": "sent"}, "4c4ad2c6"),
        (GOCARDLESS, {"mandate": "MD1", "amount": 1000}, {"payments": {"id": "PM1"}}, "PM1"),
    ],
)
def test_a_receipt_holds_the_id_by_which_events_are_matched(
    partner: Partner, data: dict[str, Any], answer: dict[str, Any], reference: str
) -> None:
    request = built(partner.build_call, call_of(**data), URL)
    assert (URL in request.content.decode()) == (partner.stage_by != "reference")
    receipt = accepted(partner, httpx.Response(201, json=answer, request=request))
    assert (receipt.reference, receipt.note) == (reference, "")
    assert partner.proves_its_bodies or not partner.has_one_url


def test_a_mail_is_accepted_without_a_body() -> None:
    request = built(SENDGRID.build_call, call_of(**{"to": "a@b.test", "from": "c@d.test", "template": "d-1"}), URL)
    assert URL in request.content.decode()
    receipt = accepted(SENDGRID, httpx.Response(202, headers={"X-Message-Id": "14c5d75ce93"}, request=request))
    assert (receipt.reference, receipt.note) == ("14c5d75ce93", "")


@pytest.mark.parametrize(
    ("partner", "body", "expected"),
    [
        (PLAID, {"id": "idv_1", "status": "success"}, Answer("succeeded", data={"verification": "idv_1"})),
        (PLAID, {"id": "idv_1", "status": "expired"}, Answer("failed", code="expired")),
        (ONFIDO, {"id": "c-1", "status": "complete", "result": "clear"}, Answer("succeeded", data={"check": "c-1"})),
        (ONFIDO, {"id": "c-1", "status": "complete", "result": "consider"}, Answer("failed", code="consider")),
        (ONFIDO, {"id": "c-1", "status": "in_progress", "result": None}, Answer("progress", message="in_progress")),
        (MOLLIE, {"id": "tr_1", "status": "paid"}, Answer("succeeded", data={"payment": "tr_1"})),
        (MOLLIE, {"id": "tr_1", "status": "canceled"}, Answer("failed", code="canceled")),
    ],
)
def test_the_thin_ones_are_asked(partner: Partner, body: dict[str, Any], expected: Answer) -> None:
    assert partner.build_ask is not None
    assert partner.read_status is not None
    question = built(partner.build_ask, call_of(), "an-id")
    assert status(partner.read_status, httpx.Response(200, json=body, request=question)) == expected


class Table:
    """A table of calls that remembers the references."""

    def __init__(self) -> None:
        self.references: list[str] = []

    async def begin(self, claims: Claims, origin: CallOrigin) -> None:
        assert self.references == []

    async def refer(self, claims: Claims, reference: str) -> None:
        self.references.append(reference)

    async def forget(self, claims: Claims) -> None:
        raise AssertionError("the call was taken")


@respx.mock
async def test_a_receipts_reference_may_be_what_our_request_said() -> None:
    """For a partner that sends back a text of ours that is too short for a callback URL."""

    def build_call(call: StageCall, callback_url: str) -> httpx.Request:
        ours = f"{call.chain_id}-{call.stage}-{call.attempt}-{call.issued_at}"
        return httpx.Request("POST", "https://psp.test/payments", json={"merchantReference": ours})

    def read_receipt(response: httpx.Response) -> Receipt:
        return Receipt(reference=text_at(json.loads(response.request.content), "merchantReference"))

    respx.post("https://psp.test/payments").respond(201, json={})
    partner, table = replace(GOCARDLESS, build_call=build_call, read_receipt=read_receipt), Table()
    async with http_client() as http:
        calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"any": partner}, table)
        receipt = await ActivityEnvironment().run(calls.call_partner, call_of())
    assert [receipt.reference] == table.references == ["chain-1-1-1-1800000000"]
