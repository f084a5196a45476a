"""Account checks at a bank, with Standard Webhooks: a sample, played by the sandbox.

This bank reports progress before the result. Its signature covers a delivery id, so that the receiver recognizes a
retry that was signed again.
"""

from __future__ import annotations

from activities.environment import Environment
from activities.http import BasicAuth, Request, Response
from activities.partners.events import Event
from activities.partners.partner import Partner, signature, work_reference
from activities.partners.reading import read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall


def partner(environment: Environment) -> Partner:
    """Make the sample partner at BANK_URL, with its API key BANK_KEY and its signing secret BANK_SECRET."""
    url = environment.url("BANK_URL", fix="the address of the bank's API", default="http://127.0.0.1:8090/bank")
    key = environment.secret("BANK_KEY", fix="the API key from the bank's dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        body = {"account": call.data, "client_reference": work_reference(call), "webhook_url": callback_url}
        return Request("POST", f"{url}/verifications", json=body)

    return Partner(
        name="bank",
        signature=signature(
            "standard-webhooks", environment, "BANK_SECRET", fix="the endpoint's secret, base64 with or without whsec_"
        ),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        auth=BasicAuth(key, ""),  # the key is the user name, as in many payment APIs
        loopback_only=True,
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call: the verification, whose events will report the result."""
    verification = read_object(response)
    answer = _read_verification(f"verification.{text_at(verification, 'status')}", verification)
    return Receipt(reference=text_at(verification, "id"), answer=answer if answer.settles else None)


def read_event(received: Received) -> Event:
    """Read an event."""
    event = read_object(received)
    return Event(_read_verification(text_at(event, "type"), event.get("data")))


def _read_verification(kind: str, verification: object) -> Answer:
    match kind:
        case "verification.processing":
            return Answer("progress", message=text_or_empty(verification, "message"))
        case "verification.verified":
            return Answer("succeeded", data={"account_id": text_at(verification, "account_id")})
        case "verification.failed":
            code, message = text_or_empty(verification, "code"), text_or_empty(verification, "message")
            return Answer("failed", code=code, message=message)
    raise Unreadable("not an event of a verification")
