"""New partner: say in a sentence what it does, and how it answers.

Say what is special about it: how it signs, how it retries, what it calls an answer.
"""

from __future__ import annotations

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import Event
from activities.partners.partner import Partner, signature, work_reference
from activities.partners.reading import read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall


def partner(environment: Environment) -> Partner:
    """New partner, by the variables that begin with NEW_PARTNER_."""
    url = environment.url("NEW_PARTNER_URL", fix="the address of its API")
    key = environment.secret("NEW_PARTNER_KEY", fix="the API key from its dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        body = {"reference": work_reference(call), "data": call.data, "callback_url": callback_url}
        return Request("POST", f"{url}/work", json=body)

    return Partner(
        name="new-partner",
        signature=signature("github", environment, "NEW_PARTNER_SECRET", fix="the signing secret from its dashboard"),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        auth=HeaderKey("Authorization", f"Bearer {key}"),
        content_type="application/json",
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call: the work's id."""
    return Receipt(reference=text_or_empty(read_object(response), "id"))


def read_event(received: Received) -> Event:
    """Read a callback."""
    event = read_object(received)
    return Event(read_answer(event))


def read_answer(event: object) -> Answer:
    """Read what a callback says about the work."""
    match text_at(event, "status"):
        case "done":
            return Answer("succeeded", data={"number": text_at(event, "result", "number")})
        case "failed":
            return Answer("failed", code=text_or_empty(event, "code"), message=text_or_empty(event, "message"))
        case "working":
            return Answer("progress")
    raise Unreadable("unknown status")
