"""Signed contracts, in the manner of DocuSign: a sample, played by the sandbox.

This partner may never answer, because people leave an envelope unsigned. Nothing tells whether an envelope was
abandoned, so this partner cannot be asked, and a stage calls it again. An envelope that no longer needs to be signed
can be voided. Each key signs in its own header, without a timestamp.
"""

from __future__ import annotations

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import Event
from activities.partners.partner import OwnAnswer, Partner, signature, work_reference
from activities.partners.paths import path_segment
from activities.partners.reading import read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall

AT_WORK = {"sent", "delivered"}


def partner(environment: Environment) -> Partner:
    """Make the sample partner at ESIGN_URL, with its access token ESIGN_KEY and its signing secret ESIGN_SECRET."""
    url = environment.url("ESIGN_URL", fix="the address of the e-signature API", default="http://127.0.0.1:8090/esign")
    key = environment.secret("ESIGN_KEY", fix="the access token of the e-signature account")

    def build_call(call: StageCall, callback_url: str) -> Request:
        body = {
            "status": "sent",
            "recipients": {"signers": [call.data]},
            "customFields": {"textCustomFields": [{"name": "reference", "value": work_reference(call)}]},
            "eventNotification": {"url": callback_url, "eventData": {"version": "restv2.1"}},
        }
        return Request("POST", f"{url}/envelopes", json=body)

    def build_stop(call: StageCall, reference: str) -> Request:
        body = {"status": "voided", "voidedReason": "no longer needed"}
        return Request("PUT", f"{url}/envelopes/{path_segment(reference)}", json=body)

    return Partner(
        name="esign",
        signature=signature("docusign", environment, "ESIGN_SECRET", fix="the HMAC key of the account's Connect page"),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        build_stop=build_stop,
        auth=HeaderKey("Authorization", f"Bearer {key}"),
        answers={"accepted": OwnAnswer(200), "gone": OwnAnswer(200)},  # after any other status it retries for days
        loopback_only=True,
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call: the envelope, which is not signed yet."""
    envelope = read_object(response)
    answer = _read_envelope(text_at(envelope, "status"), envelope)
    return Receipt(reference=text_at(envelope, "envelopeId"), answer=answer if answer.settles else None)


def read_event(received: Received) -> Event:
    """Read an envelope's event."""
    event = read_object(received)
    data = event.get("data")
    envelope = data.get("envelopeSummary") if isinstance(data, dict) else None
    return Event(_read_envelope(text_at(event, "event").removeprefix("envelope-"), envelope))


def _read_envelope(status: str, envelope: object) -> Answer:
    if status == "completed":
        return Answer("succeeded", data={"document_id": text_at(envelope, "documentId")})
    if status in {"declined", "voided"}:
        reason = text_or_empty(envelope, "declinedReason")
        return Answer("failed", code=text_or_empty(envelope, "declinedCode") or status, message=reason)
    if status in AT_WORK:
        return Answer("progress", message=status)
    raise Unreadable("not the status of an envelope")
