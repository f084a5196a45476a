"""Mollie's payments: kind one, unsigned and thin: a form with nothing but the payment's id."""

from __future__ import annotations

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import Event
from activities.partners.partner import OwnAnswer, Partner
from activities.partners.paths import path_segment
from activities.partners.reading import read_object, text_at
from activities.partners.received import Received
from workflows.contract import Answer, Receipt, StageCall

FAILED = {"failed", "canceled", "expired"}


def partner(environment: Environment) -> Partner:
    """Mollie, at MOLLIE_URL with MOLLIE_KEY."""
    url = environment.url("MOLLIE_URL", fix="Mollie's API", default="https://api.mollie.com/v2")
    key = environment.secret("MOLLIE_KEY", fix="the API key from Mollie's dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        return Request("POST", f"{url}/payments", json={**call.data, "webhookUrl": callback_url})

    def build_ask(call: StageCall, reference: str) -> Request:
        return Request("GET", f"{url}/payments/{path_segment(reference)}")

    return Partner(
        name="mollie",
        signature=None,  # Mollie signs nothing, and a webhook only says that there is something to ask for
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        build_ask=build_ask,
        read_status=read_status,
        auth=HeaderKey("Authorization", f"Bearer {key}"),
        content_type="application/x-www-form-urlencoded",
        answers={"accepted": OwnAnswer(200)},
    )


def read_receipt(response: Response) -> Receipt:
    """Read the new payment."""
    return Receipt(reference=text_at(read_object(response), "id"))


def read_event(received: Received) -> Event:
    """Read a webhook."""
    return Event(Answer("ask", message=text_at(received.form(), "id")))


def read_status(response: Response) -> Answer:
    """Read a payment."""
    payment = read_object(response)
    status = text_at(payment, "status")
    if status == "paid":
        return Answer("succeeded", data={"payment": text_at(payment, "id")})
    if status in FAILED:
        return Answer("failed", code=status)
    return Answer("progress", message=status)
