"""SendGrid's mails: kind two, an array of events in each request; our text comes back as a custom argument."""

from __future__ import annotations

from collections.abc import Sequence

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import NOT_OURS, Event, NotOurs
from activities.partners.partner import Partner, signature
from activities.partners.reading import items_at, text_at, text_or_empty
from activities.partners.received import Part, Received
from workflows.contract import Answer, Receipt, StageCall

FAILED = {"bounce", "dropped"}


def partner(environment: Environment) -> Partner:
    """SendGrid, at SENDGRID_URL with SENDGRID_KEY."""
    url = environment.url("SENDGRID_URL", fix="SendGrid's API", default="https://api.sendgrid.com/v3")
    key = environment.secret("SENDGRID_KEY", fix="the API key from SendGrid's settings")

    def build_call(call: StageCall, callback_url: str) -> Request:
        to = {"to": [{"email": call.data["to"]}], "custom_args": {"callback_url": callback_url}}
        body = {"personalizations": [to], "from": {"email": call.data["from"]}, "template_id": call.data["template"]}
        return Request("POST", f"{url}/mail/send", json=body)

    return Partner(
        name="sendgrid",
        signature=signature(
            "sendgrid",
            environment,
            "SENDGRID_SECRET",
            fix="the webhook's verification key",
            private_key=environment.optional("SENDGRID_PRIVATE_KEY"),
        ),
        build_call=build_call,
        read_receipt=read_receipt,
        split=split,
        read_event=read_event,
        stage_by="token",
        auth=HeaderKey("Authorization", f"Bearer {key}"),
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call, which has no body."""
    return Receipt(reference=response.headers.get("X-Message-Id", ""))


def split(received: Received) -> Sequence[Part]:
    """Split a request into its events."""
    return [received.part(event) for event in items_at(received.json())]


def read_event(part: Received) -> Event | NotOurs:
    """Read an event."""
    event = part.json()
    token = text_or_empty(event, "callback_url")
    if not token:
        return NOT_OURS
    name = text_at(event, "event")
    if name == "delivered":
        return Event(Answer("succeeded"), token=token)
    if name in FAILED:
        return Event(Answer("failed", code=name, message=text_or_empty(event, "reason")), token=token)
    return Event(Answer("progress", message=name), token=token)
