"""Identity verification, in the manner of Plaid: a sample, played by the sandbox.

This partner has one webhook URL, which is entered in its dashboard, and takes no text of ours: a callback holds only
its own id of the verification, which `read_receipt` has read. It is thin as well: the result is read from the
verification itself. The account's other webhooks arrive at the same URL.
"""

from __future__ import annotations

import json

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import NOT_OURS, Event, NotOurs
from activities.partners.partner import Partner, signature
from activities.partners.reading import object_or_empty, read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall

AT_WORK = {"active", "pending_review"}
FAILED = {"failed", "expired", "canceled"}


def partner(environment: Environment) -> Partner:
    """Make the sample partner at IDCHECK_URL, with its API key IDCHECK_KEY and its signing secret IDCHECK_SECRET."""
    url = environment.url(
        "IDCHECK_URL", fix="the address of the verification API", default="http://127.0.0.1:8090/idcheck"
    )
    key = environment.secret("IDCHECK_KEY", fix="the API key from the verification partner's dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        return Request("POST", f"{url}/verifications", json={"user": call.data})

    def build_ask(call: StageCall, reference: str) -> Request:
        return Request("POST", f"{url}/verifications/get", json={"identity_verification_id": reference})

    return Partner(
        name="idcheck",
        signature=signature("stripe", environment, "IDCHECK_SECRET", fix="the webhook's secret from its dashboard"),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        stage_by="reference",
        idempotent=True,
        sample_event=sample_event,
        build_ask=build_ask,
        read_status=read_status,
        auth=HeaderKey("Authorization", f"Bearer {key}"),
        loopback_only=True,
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call: the verification, whose id the webhooks will hold."""
    return Receipt(reference=text_at(read_object(response), "id"))


def read_event(received: Received) -> Event | NotOurs:
    """Read a webhook. It says only that there is a new status to ask for."""
    event = read_object(received)
    if text_at(event, "webhook_type") != "IDENTITY_VERIFICATION":
        return NOT_OURS
    code = text_or_empty(event, "webhook_code")
    return Event(Answer("ask", message=code), reference=text_at(event, "identity_verification_id"))


def sample_event(answer: Answer, reference: str) -> bytes:
    """Make a webhook. It is the same for every answer, because the result is asked for."""
    event = {
        "webhook_type": "IDENTITY_VERIFICATION",
        "webhook_code": "STATUS_UPDATED",
        "identity_verification_id": reference,
        "environment": "sandbox",
    }
    return json.dumps(event).encode()


def read_status(response: Response) -> Answer:
    """Read a verification."""
    body = read_object(response)
    status = text_at(body, "status")
    if status == "success":
        return Answer("succeeded", data={**object_or_empty(body, "user"), "check_id": text_at(body, "id")})
    if status in FAILED:
        return Answer("failed", code=status, message=text_or_empty(body, "reason"))
    if status in AT_WORK:
        return Answer("progress", message=status)
    raise Unreadable("unknown status of a verification")
