"""How the sandbox plays each partner: it writes the partner's format where the partner's file reads it, and vice versa.

The other halves are in the partners' files. A test sends the messages of every role through them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from workflows.contract import Answer

Words = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a call asks for: the URL for the callback, the attempt, and the data."""

    callback_url: str
    attempt: int
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Telling:
    """How a partner is told to stop or undo work.

    method: the HTTP method. below: what follows the work's path. fields: what the body must hold.
    answer: makes the answer from the work's id.
    """

    method: str
    below: str
    fields: Words
    answer: Callable[[str], Words]

    def is_told_by(self, method: str, below: str, body: bytes) -> bool:
        """Whether a request at or below the work's path tells the partner this."""
        try:
            said = json.loads(body or b"{}")
        except ValueError:
            return False
        holds = isinstance(said, dict) and all(said.get(name) == value for name, value in self.fields.items())
        return holds and (method, below) == (self.method, self.below)


@dataclass(frozen=True)
class Role:
    """A partner as the sandbox plays it. Functions that make a message take the work's id and the answer to express.

    collection: the name of the work in the path.
    read_order: reads a call's body; raises KeyError, TypeError or ValueError.
    receipt: makes the answer to a call; an answer that does not settle means that the work has only begun.
    callback: makes a callback's body. status: makes the answer to a status request, if the partner supports that.
    findings: makes the result's data from the work's id and the call's data.
    reports_progress: whether it sends one progress report before the result.
    asked_by: the field that holds the work's id in a status request, which is then a POST to `get`; "" for a partner
        whose status is read by a GET of the work.
    has_one_url: whether it sends its callbacks to one webhook URL, and not to a URL in the call.
    stop, undo: how to tell the partner to stop or undo work, if it supports that.
    """

    collection: str
    read_order: Callable[[Words], Order]
    receipt: Callable[[str, Answer], Words]
    callback: Callable[[str, Answer], Words]
    findings: Callable[[str, Mapping[str, Any]], Words]
    status: Callable[[str, Answer], Words] | None = None
    reports_progress: bool = False
    asked_by: str = ""
    has_one_url: bool = False
    stop: Telling | None = None
    undo: Telling | None = None


def _order(callback_url: Any, reference: Any, data: Any) -> Order:
    """Make an order. The attempt is the last part of `reference`, which the partner's file made by `work_reference`."""
    return Order(str(callback_url), int(str(reference).rpartition("/")[2]), dict(data))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


# --- the sandbox itself


def _sandbox_result(work: str, answer: Answer) -> Words:
    error = {"error": {"code": answer.code, "message": answer.message}} if answer.status == "failed" else {}
    return {"id": work, "status": answer.status, "data": dict(answer.data), **error}


SANDBOX: Final = Role(
    collection="calls",
    read_order=lambda call: Order(str(call["callback_url"]), int(call["attempt"]), dict(call["data"])),
    receipt=lambda work, answer: _sandbox_result(work, answer) if answer.settles else {"id": work},
    callback=_sandbox_result,
    findings=lambda work, data: {"echo": dict(data)},
)


# --- identity


def _inquiry(work: str, answer: Answer) -> Words:
    attributes: Words = {"status": "pending"}
    if answer.status == "succeeded":
        attributes = {"status": "completed", "fields": {"legal-name": answer.data.get("legal_name")}}
    elif answer.status == "failed":
        attributes = {"status": "declined", "decline-code": answer.code, "decline-reason": answer.message}
    return {"data": {"type": "inquiry", "id": work, "attributes": attributes}}


def _inquiry_event(work: str, answer: Answer) -> Words:
    payload = {"data": {"type": "inquiry", "id": work}}
    attributes = {"name": "inquiry.completed" if answer.settles else "inquiry.transitioned", "payload": payload}
    return {"data": {"type": "event", "id": f"evt-{work}", "attributes": attributes}}


def _inquiry_order(call: Words) -> Order:
    asked = call["data"]["attributes"]
    return _order(asked["webhook-url"], asked["reference-id"], asked["fields"])


IDENTITY: Final = Role(
    collection="inquiries",
    read_order=_inquiry_order,
    receipt=_inquiry,
    callback=_inquiry_event,
    findings=lambda work, data: {"legal_name": str(data.get("full_name", "")).title(), "check_id": work},
    status=_inquiry,
)


# --- bank

VERIFICATION: Final = {"succeeded": "verified", "failed": "failed"}


def _verification(work: str, answer: Answer) -> Words:
    said = {"code": answer.code, "message": answer.message} if answer.status == "failed" else dict(answer.data)
    return {"id": work, **said}


def _verification_receipt(work: str, answer: Answer) -> Words:
    return {**_verification(work, answer), "status": VERIFICATION.get(answer.status, "processing")}


def _verification_event(work: str, answer: Answer) -> Words:
    kind = f"verification.{VERIFICATION.get(answer.status, 'processing')}"
    return {"type": kind, "data": _verification(work, answer)}


BANK: Final = Role(
    collection="verifications",
    read_order=lambda call: _order(call["webhook_url"], call["client_reference"], call["account"]),
    receipt=_verification_receipt,
    callback=_verification_event,
    findings=lambda work, data: {"account_id": "acc-" + _digest(str(data.get("iban", "")))},
    reports_progress=True,
)


# --- esign

ENVELOPE: Final = {"succeeded": "completed", "failed": "declined"}


def _envelope(work: str, answer: Answer) -> Words:
    envelope: Words = {"envelopeId": work, "status": ENVELOPE.get(answer.status, "sent")}
    if answer.status == "succeeded":
        envelope["documentId"] = answer.data.get("document_id")
    elif answer.status == "failed":
        envelope |= {"declinedCode": answer.code, "declinedReason": answer.message}
    return envelope


def _envelope_event(work: str, answer: Answer) -> Words:
    envelope = _envelope(work, answer)
    event = f"envelope-{envelope['status']}"
    return {"event": event, "data": {"envelopeId": work, "envelopeSummary": envelope}}


def _envelope_order(call: Words) -> Order:
    [reference] = call["customFields"]["textCustomFields"]
    [signer] = call["recipients"]["signers"]
    return _order(call["eventNotification"]["url"], reference["value"], signer)


ESIGN: Final = Role(
    collection="envelopes",
    read_order=_envelope_order,
    receipt=_envelope,
    callback=_envelope_event,
    findings=lambda work, data: {"document_id": "doc-" + _digest(work)},
    stop=Telling("PUT", "", {"status": "voided"}, lambda work: {"envelopeId": work}),
)


# --- cards

CARD: Final = {"succeeded": "ACTIVE", "failed": "REJECTED"}


def _card(work: str, answer: Answer) -> Words:
    card: Words = {"token": work, "state": CARD.get(answer.status, "PENDING")}
    if answer.status == "succeeded":
        card |= {"id": answer.data.get("card_id"), "last_four": answer.data.get("last_four")}
    elif answer.status == "failed":
        card |= {"reason_code": answer.code, "reason": answer.message}
    return {"card": card}


def _card_findings(work: str, data: Mapping[str, Any]) -> Words:
    return {"card_id": "card-" + _digest(work), "last_four": f"{int(_digest(work), 16) % 10000:04}"}


CARDS: Final = Role(
    collection="cards",
    read_order=lambda call: _order(call["callback_url"], call["reference"], call["cardholder"]),
    receipt=_card,
    callback=_card,
    findings=_card_findings,
    undo=Telling("POST", "/cancel", {}, lambda work: {"card": {"token": work, "state": "CANCELED"}}),
)


# --- idcheck

VERIFIED: Final = {"succeeded": "success", "failed": "failed"}


def _idcheck(work: str, answer: Answer) -> Words:
    verification: Words = {"id": work, "status": VERIFIED.get(answer.status, "active")}
    if answer.status == "succeeded":
        verification["user"] = {name: value for name, value in answer.data.items() if name != "check_id"}
    elif answer.status == "failed":
        verification["reason"] = answer.message
    return verification


IDCHECK: Final = Role(
    collection="verifications",
    read_order=lambda call: Order("", 1, dict(call["user"])),
    receipt=_idcheck,
    callback=lambda work, answer: {
        "webhook_type": "IDENTITY_VERIFICATION",
        "webhook_code": "STATUS_UPDATED",
        "identity_verification_id": work,
        "environment": "sandbox",
    },
    findings=lambda work, data: {"legal_name": str(data.get("full_name", "")).title(), "check_id": work},
    status=_idcheck,
    asked_by="identity_verification_id",
    has_one_url=True,
)


# --- payments


def _notification(work: str, answer: Answer) -> Words:
    item = {
        "eventCode": "AUTHORISATION" if answer.settles else "PENDING",
        "success": str(answer.status == "succeeded").lower(),
        "pspReference": work,
        "reason": answer.message,
    }
    return {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}


PAYMENTS: Final = Role(
    collection="payments",
    read_order=lambda call: _order("", call["reference"], call["details"]),
    receipt=lambda work, answer: {"pspReference": work, "resultCode": "Received"},
    callback=_notification,
    findings=lambda work, data: {"payment_id": work},
    has_one_url=True,
)


ROLES: Final[Mapping[str, Role]] = {
    "identity": IDENTITY,
    "bank": BANK,
    "esign": ESIGN,
    "cards": CARDS,
    "idcheck": IDCHECK,
    "payments": PAYMENTS,
}
"""The partners whose formats the sandbox knows. All other partners get its own format, `SANDBOX`."""


def role_of(partner: str) -> Role:
    """The role of a partner, by its name."""
    return ROLES.get(partner, SANDBOX)
