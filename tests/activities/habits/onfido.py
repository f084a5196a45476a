"""Onfido's checks: kind three, and thin: an event names the check, whose result is asked for."""

from __future__ import annotations

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import NOT_OURS, Event, NotOurs
from activities.partners.partner import Partner, signature
from activities.partners.paths import path_segment
from activities.partners.reading import read_object, text_at, text_or_empty
from activities.partners.received import Received
from workflows.contract import Answer, Receipt, StageCall


def partner(environment: Environment) -> Partner:
    """Onfido, at ONFIDO_URL with ONFIDO_KEY."""
    url = environment.url("ONFIDO_URL", fix="Onfido's API", default="https://api.eu.onfido.com/v3.6")
    key = environment.secret("ONFIDO_KEY", fix="the API token from Onfido's dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        body = {"applicant_id": call.data["applicant"], "report_names": ["document", "facial_similarity_photo"]}
        return Request("POST", f"{url}/checks", json=body)

    def build_ask(call: StageCall, reference: str) -> Request:
        return Request("GET", f"{url}/checks/{path_segment(reference)}")

    return Partner(
        name="onfido",
        signature=signature("onfido", environment, "ONFIDO_SECRET", fix="the webhook's token"),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        stage_by="reference",
        build_ask=build_ask,
        read_status=read_status,
        auth=HeaderKey("Authorization", f"Token token={key}"),
    )


def read_receipt(response: Response) -> Receipt:
    """Read the new check."""
    return Receipt(reference=text_at(read_object(response), "id"))


def read_event(received: Received) -> Event | NotOurs:
    """Read an event."""
    event = read_object(received)
    if text_at(event, "payload", "resource_type") != "check":
        return NOT_OURS
    action = text_or_empty(event, "payload", "action")
    return Event(Answer("ask", message=action), reference=text_at(event, "payload", "object", "id"))


def read_status(response: Response) -> Answer:
    """Read a check."""
    check = read_object(response)
    status, result = text_at(check, "status"), text_or_empty(check, "result")
    if status == "withdrawn" or result == "consider":
        return Answer("failed", code=result or status)
    if status == "complete":
        return Answer("succeeded", data={"check": text_at(check, "id")})
    return Answer("progress", message=status)
