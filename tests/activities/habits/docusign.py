"""DocuSign's envelopes: kind one, and XML."""

from __future__ import annotations

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import Event
from activities.partners.partner import OwnAnswer, Partner, signature
from activities.partners.reading import read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall

NEWS = ["Completed", "Declined", "Voided"]
AT_WORK = {"sent", "delivered", "signed"}


def partner(environment: Environment) -> Partner:
    """DocuSign, at DOCUSIGN_URL (with the account in it) with DOCUSIGN_KEY."""
    url = environment.url("DOCUSIGN_URL", fix="the account's API, https://.../restapi/v2.1/accounts/ACCOUNT")
    key = environment.secret("DOCUSIGN_KEY", fix="an access token of the account")

    def build_call(call: StageCall, callback_url: str) -> Request:
        news = [{"envelopeEventStatusCode": name} for name in NEWS]
        notice = {"url": callback_url, "includeHMAC": "true", "includeDocuments": "false", "envelopeEvents": news}
        return Request("POST", f"{url}/envelopes", json={**call.data, "eventNotification": notice})

    return Partner(
        name="docusign",
        signature=signature("docusign", environment, "DOCUSIGN_SECRET", fix="the HMAC key of the Connect page"),
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        auth=HeaderKey("Authorization", f"Bearer {key}"),
        content_type=["text/xml", "application/xml"],
        answers={"accepted": OwnAnswer(200), "gone": OwnAnswer(200)},
    )


def read_receipt(response: Response) -> Receipt:
    """Read the new envelope."""
    return Receipt(reference=text_at(read_object(response), "envelopeId"))


def read_event(received: Received) -> Event:
    """Read an envelope's status."""
    root = received.xml()
    status = text_at(root, "EnvelopeStatus", "Status").lower()
    if status == "completed":
        return Event(Answer("succeeded", data={"envelope": text_at(root, "EnvelopeStatus", "EnvelopeID")}))
    if status in {"declined", "voided"}:
        reason = text_or_empty(root, "EnvelopeStatus", "VoidReason")
        return Event(Answer("failed", code=status, message=reason))
    if status in AT_WORK:
        return Event(Answer("progress", message=status))
    raise Unreadable("unknown status")
