"""Identity checks, in the manner of Persona: a sample, played by the sandbox.

This partner sends thin callbacks: an event says only which inquiry has changed. The result is read from the inquiry
itself, so an old, repeated or out-of-order event does no harm.
"""

from __future__ import annotations

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import Event
from activities.partners.partner import Partner, signature, work_reference
from activities.partners.paths import path_segment
from activities.partners.reading import read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall

AT_WORK = {"created", "pending", "needs_review"}


def partner(environment: Environment) -> Partner:
    """Make the sample partner at IDENTITY_URL, with its API key IDENTITY_KEY and its signing secret IDENTITY_SECRET."""
    url = environment.url(
        "IDENTITY_URL", fix="the address of the identity API", default="http://127.0.0.1:8090/identity"
    )
    key = environment.secret("IDENTITY_KEY", fix="the API key from the identity partner's dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        attributes = {"reference-id": work_reference(call), "fields": call.data, "webhook-url": callback_url}
        return Request("POST", f"{url}/inquiries", json={"data": {"attributes": attributes}})

    def build_ask(call: StageCall, reference: str) -> Request:
        return Request("GET", f"{url}/inquiries/{path_segment(reference)}")

    return Partner(
        name="identity",
        signature=signature("persona", environment, "IDENTITY_SECRET", fix="the webhook's secret from its dashboard"),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        build_ask=build_ask,
        read_status=read_status,
        auth=HeaderKey("Authorization", f"Bearer {key}"),
        loopback_only=True,
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call: the inquiry, already finished if the person is known."""
    answer = read_status(response)
    return Receipt(reference=text_at(read_object(response), "data", "id"), answer=answer if answer.settles else None)


def read_event(received: Received) -> Event:
    """Read an event. Although it is signed, it says only that there is a new status to ask for."""
    name = text_at(read_object(received), "data", "attributes", "name")
    if not name.startswith("inquiry."):
        raise Unreadable("not an inquiry's event")
    return Event(Answer("ask", message=name))


def read_status(response: Response) -> Answer:
    """Read an inquiry."""
    body = read_object(response)
    status = text_at(body, "data", "attributes", "status")
    if status == "completed":
        legal_name = text_at(body, "data", "attributes", "fields", "legal-name")
        return Answer("succeeded", data={"legal_name": legal_name, "check_id": text_at(body, "data", "id")})
    if status == "declined":
        code = text_or_empty(body, "data", "attributes", "decline-code")
        return Answer("failed", code=code, message=text_or_empty(body, "data", "attributes", "decline-reason"))
    if status in AT_WORK:
        return Answer("progress", message=status)
    raise Unreadable("unknown status of an inquiry")
