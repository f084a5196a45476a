"""The sandbox partner: plays any partner in demo, development and tests. This file is our side of it.

`receiver.sandbox` is the other side; it also plays the sample partners, each in its own form. A call to this partner is
answered 202 with an id, or 200 with the result. A callback is JSON of the same form: `{"id": "...", "status":
"succeeded", "data": {...}}`, or `"failed"` with `"error": {"code", "message"}`, or `"progress"`, or `"ask"`. With
SANDBOX_KEY a call has a bearer token, and with SANDBOX_SECRET the callbacks are signed; TRIAL=1 sets both.
"""

from __future__ import annotations

from typing import Any, Final

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import Event
from activities.partners.partner import Partner, signature
from activities.partners.reading import object_or_empty, read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall

HOW_TO_SIGN: Final = "the secret of `stagehook partner serve`, base64 with or without whsec_"


def partner(name: str, environment: Environment) -> Partner:
    """Make a partner of this name that is played by the sandbox at SANDBOX_URL."""
    url = environment.url(
        "SANDBOX_URL", fix="the address of `stagehook partner serve`", default="http://127.0.0.1:8090"
    )

    key = environment.optional("SANDBOX_KEY")
    is_signed = environment.optional("SANDBOX_SECRET") != ""

    def build_call(call: StageCall, callback_url: str) -> Request:
        body = {"callback_url": callback_url, "attempt": call.attempt, "data": call.data}
        return Request("POST", f"{url}/{name}/calls", json=body)

    return Partner(
        name=name,
        signature=signature("standard-webhooks", environment, "SANDBOX_SECRET", fix=HOW_TO_SIGN) if is_signed else None,
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        auth=HeaderKey("Authorization", f"Bearer {key}") if key else None,
        loopback_only=True,
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call: an id, and the result if it is already known."""
    body = read_object(response)
    return Receipt(reference=text_at(body, "id"), answer=_read_answer(body) if "status" in body else None)


def read_event(received: Received) -> Event:
    """Read a callback."""
    return Event(_read_answer(read_object(received)))


def _read_answer(body: dict[str, Any]) -> Answer:
    data = object_or_empty(body, "data")
    match body.get("status"):
        case "succeeded":
            return Answer("succeeded", data=data)
        case "failed":
            error = object_or_empty(body, "error")
            return Answer("failed", code=text_or_empty(error, "code"), message=text_or_empty(error, "message"))
        case "progress":
            return Answer("progress", message=text_or_empty(data, "message"))
        case "ask":
            return Answer("ask")
    raise Unreadable("unknown status: expected succeeded, failed, progress or ask")
