"""Checkr's reports: kind three, with the result in the event; some events name our report in another place."""

from __future__ import annotations

from activities.environment import Environment
from activities.http import BasicAuth, Request, Response
from activities.partners.events import NOT_OURS, Event, NotOurs
from activities.partners.partner import Partner, signature
from activities.partners.reading import object_or_empty, read_object, text_at, text_or_empty
from activities.partners.received import Received
from workflows.contract import Answer, Receipt, StageCall


def partner(environment: Environment) -> Partner:
    """Checkr, at CHECKR_URL with CHECKR_KEY, which also signs its events."""
    url = environment.url("CHECKR_URL", fix="Checkr's API", default="https://api.checkr.com/v1")
    key = environment.secret("CHECKR_KEY", fix="the secret API key from Checkr's dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        body = {"candidate_id": call.data["candidate"], "package": call.data["package"]}
        return Request("POST", f"{url}/reports", json=body)

    return Partner(
        name="checkr",
        signature=signature("hmac", environment, "CHECKR_KEY", fix="the secret API key", header="X-Checkr-Signature"),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        stage_by="reference",
        idempotent=True,
        auth=BasicAuth(key, ""),
    )


def read_receipt(response: Response) -> Receipt:
    """Read the new report."""
    return Receipt(reference=text_at(read_object(response), "id"))


def read_event(received: Received) -> Event | NotOurs:
    """Read an event."""
    event = read_object(received)
    kind = text_at(event, "type")
    thing = object_or_empty(event, "data", "object")
    reference = text_or_empty(thing, "id" if kind.startswith("report.") else "report_id")
    if not reference:
        return NOT_OURS
    if kind == "report.completed" and text_at(thing, "result") == "clear":
        return Event(Answer("succeeded", data={"report": reference}), reference=reference)
    if kind == "report.completed":
        return Event(Answer("failed", code=text_at(thing, "result")), reference=reference)
    if kind == "report.canceled":
        return Event(Answer("failed", code="canceled"), reference=reference)
    return Event(Answer("progress", message=kind), reference=reference)
