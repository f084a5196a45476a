"""GoCardless' payments: kind three, several events in a request, about the whole account."""

from __future__ import annotations

from collections.abc import Sequence

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import NOT_OURS, Event, NotOurs
from activities.partners.partner import Partner, signature
from activities.partners.reading import items_at, read_object, text_at, text_or_empty
from activities.partners.received import Part, Received
from workflows.contract import Answer, Receipt, StageCall

FAILED = {"failed", "cancelled", "customer_approval_denied"}


def partner(environment: Environment) -> Partner:
    """GoCardless, at GOCARDLESS_URL with GOCARDLESS_KEY."""
    url = environment.url("GOCARDLESS_URL", fix="GoCardless' API", default="https://api.gocardless.com")
    key = environment.secret("GOCARDLESS_KEY", fix="the access token from GoCardless' dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        links = {"links": {"mandate": call.data["mandate"]}}
        body = {"payments": {"amount": call.data["amount"], "currency": "GBP", **links}}
        return Request("POST", f"{url}/payments", headers={"GoCardless-Version": "2015-07-06"}, json=body)

    return Partner(
        name="gocardless",
        signature=signature(
            "hmac", environment, "GOCARDLESS_SECRET", fix="the webhook endpoint's secret", header="Webhook-Signature"
        ),
        build_call=build_call,
        read_receipt=read_receipt,
        split=split,
        read_event=read_event,
        stage_by="reference",
        auth=HeaderKey("Authorization", f"Bearer {key}"),
    )


def read_receipt(response: Response) -> Receipt:
    """Read the new payment."""
    return Receipt(reference=text_at(read_object(response), "payments", "id"))


def split(received: Received) -> Sequence[Part]:
    """Split a request into its events."""
    return [received.part(event) for event in items_at(read_object(received), "events")]


def read_event(part: Received) -> Event | NotOurs:
    """Read an event."""
    event = part.json()
    reference = text_or_empty(event, "links", "payment")
    if not reference:
        return NOT_OURS
    kind, action = text_at(event, "resource_type"), text_at(event, "action")
    if (kind, action) == ("payments", "confirmed"):
        return Event(Answer("succeeded", data={"payment": reference}), reference=reference)
    if kind == "payments" and action in FAILED:
        why = text_or_empty(event, "details", "description")
        return Event(Answer("failed", code=text_or_empty(event, "details", "cause"), message=why), reference=reference)
    return Event(Answer("progress", message=f"{kind} {action}"), reference=reference)
