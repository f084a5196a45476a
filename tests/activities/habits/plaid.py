"""Plaid's identity verification: kind three, and thin; webhooks about its other products come as well."""

from __future__ import annotations

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.events import NOT_OURS, Event, NotOurs
from activities.partners.partner import Partner, signature
from activities.partners.reading import read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall

AT_WORK = {"active", "pending_review"}
FAILED = {"failed", "expired", "canceled"}


def partner(environment: Environment) -> Partner:
    """Plaid, at PLAID_URL with PLAID_CLIENT and PLAID_KEY."""
    url = environment.url("PLAID_URL", fix="Plaid's API", default="https://production.plaid.com")
    client = environment.text("PLAID_CLIENT", fix="the client id from Plaid's dashboard")
    headers = {"PLAID-CLIENT-ID": client, "PLAID-SECRET": environment.secret("PLAID_KEY", fix="the secret beside it")}

    def build_call(call: StageCall, callback_url: str) -> Request:
        body = {"client_user_id": call.data["user"], "template_id": call.data["template"], "is_idempotent": True}
        return Request("POST", f"{url}/identity_verification/create", headers=headers, json=body)

    def build_ask(call: StageCall, reference: str) -> Request:
        body = {"identity_verification_id": reference}
        return Request("POST", f"{url}/identity_verification/get", headers=headers, json=body)

    return Partner(
        name="plaid",
        # Plaid signs with a JWT, which no scheme reads yet: a gateway of ours checks it, and signs again.
        signature=signature("hmac", environment, "PLAID_SECRET", fix="the gateway's secret", header="X-Gateway"),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        stage_by="reference",
        idempotent=True,
        build_ask=build_ask,
        read_status=read_status,
    )


def read_receipt(response: Response) -> Receipt:
    """Read the new verification."""
    return Receipt(reference=text_at(read_object(response), "id"))


def read_event(received: Received) -> Event | NotOurs:
    """Read a webhook."""
    event = read_object(received)
    if text_at(event, "webhook_type") != "IDENTITY_VERIFICATION":
        return NOT_OURS
    return Event(
        Answer("ask", message=text_or_empty(event, "webhook_code")),
        reference=text_at(event, "identity_verification_id"),
    )


def read_status(response: Response) -> Answer:
    """Read a verification."""
    verification = read_object(response)
    status = text_at(verification, "status")
    if status == "success":
        return Answer("succeeded", data={"verification": text_at(verification, "id")})
    if status in FAILED:
        return Answer("failed", code=status)
    if status in AT_WORK:
        return Answer("progress", message=status)
    raise Unreadable("unknown status")
