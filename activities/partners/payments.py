"""Payments, in the manner of Adyen: a sample, played by the sandbox.

This partner has one webhook URL for the whole account, and sends several notifications in one request. Each holds the
partner's own id of its payment. It sends again until it is answered "[accepted]".
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import NOT_OURS, Event, NotOurs
from activities.partners.partner import OwnAnswer, Partner, signature, work_reference
from activities.partners.reading import items_at, read_object, text_at, text_or_empty
from activities.partners.received import Part, Received
from workflows.contract import Answer, Receipt, StageCall

ACCEPTED = OwnAnswer(200, "[accepted]")


def partner(environment: Environment) -> Partner:
    """Make the sample partner at PAYMENTS_URL, with its API key PAYMENTS_KEY and its HMAC key PAYMENTS_SECRET."""
    url = environment.url(
        "PAYMENTS_URL", fix="the address of the payment API", default="http://127.0.0.1:8090/payments"
    )
    key = environment.secret("PAYMENTS_KEY", fix="the API key from the payment partner's customer area")

    def build_call(call: StageCall, callback_url: str) -> Request:
        return Request("POST", f"{url}/payments", json={"reference": work_reference(call), "details": call.data})

    return Partner(
        name="payments",
        signature=signature("github", environment, "PAYMENTS_SECRET", fix="the HMAC key of the account's webhook"),
        build_call=build_call,
        read_receipt=read_receipt,
        split=split,
        read_event=read_event,
        stage_by="reference",
        idempotent=True,
        auth=HeaderKey("X-API-Key", key),
        sample_event=sample_event,
        answers={"accepted": ACCEPTED, "gone": ACCEPTED, "conflict": ACCEPTED},
        loopback_only=True,
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call: the payment, whose id its notifications will hold."""
    return Receipt(reference=text_at(read_object(response), "pspReference"))


def split(received: Received) -> Sequence[Part]:
    """Split a request into its notifications."""
    return [received.part(item) for item in items_at(read_object(received), "notificationItems")]


def read_event(part: Received) -> Event | NotOurs:
    """Read a notification."""
    item = part.json().get("NotificationRequestItem")
    code, reference = text_at(item, "eventCode"), text_at(item, "pspReference")
    if code == "REPORT_AVAILABLE":
        return NOT_OURS  # about the account
    if code != "AUTHORISATION":
        return Event(Answer("progress", message=code), reference=reference)
    if text_at(item, "success") == "true":
        return Event(Answer("succeeded", data={"payment_id": reference}), reference=reference)
    return Event(Answer("failed", code="refused", message=text_or_empty(item, "reason")), reference=reference)


def sample_event(answer: Answer, reference: str) -> bytes:
    """Make a request with one notification, which reports this answer."""
    item = {
        "eventCode": "AUTHORISATION" if answer.settles else "PENDING",
        "success": str(answer.status == "succeeded").lower(),
        "pspReference": reference,
        "reason": answer.message,
    }
    return json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}).encode()
