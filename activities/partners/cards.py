"""Payment cards from an issuer: a sample, played by the sandbox.

This issuer answers a call at once if the card needs no production, and calls back otherwise. A card that was made can
be cancelled.
"""

from __future__ import annotations

from activities.environment import Environment
from activities.http import Request, Response
from activities.partners.auth import HeaderKey
from activities.partners.events import Event
from activities.partners.partner import Partner, work_reference
from activities.partners.paths import path_segment
from activities.partners.reading import read_object, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import Answer, Receipt, StageCall


def partner(environment: Environment) -> Partner:
    """Make the sample partner at CARDS_URL, with its API key CARDS_KEY."""
    url = environment.url(
        "CARDS_URL", fix="the address of the card issuer's API", default="http://127.0.0.1:8090/cards"
    )
    key = environment.secret("CARDS_KEY", fix="the API key from the card issuer's dashboard")

    def build_call(call: StageCall, callback_url: str) -> Request:
        body = {"cardholder": call.data, "reference": work_reference(call), "callback_url": callback_url}
        return Request("POST", f"{url}/cards", json=body)

    def build_undo(call: StageCall, reference: str) -> Request:
        return Request("POST", f"{url}/cards/{path_segment(reference)}/cancel")

    return Partner(
        name="cards",
        # This issuer signs nothing and has no secret of ours: its only proof is that it knows the callback URL.
        signature=None,
        build_call=build_call,
        read_receipt=read_receipt,
        read_event=read_event,
        build_undo=build_undo,
        auth=HeaderKey("X-Api-Key", key),
        loopback_only=True,
    )


def read_receipt(response: Response) -> Receipt:
    """Read the answer to a call: the card, which is ready for use or still has to be made."""
    card = read_object(response).get("card")
    answer = _read_card(card)
    return Receipt(reference=text_at(card, "token"), answer=answer if answer.settles else None)


def read_event(received: Received) -> Event:
    """Read a callback: the card as it is now."""
    return Event(_read_card(read_object(received).get("card")))


def _read_card(card: object) -> Answer:
    match text_at(card, "state"):
        case "ACTIVE":
            return Answer("succeeded", data={"card_id": text_at(card, "id"), "last_four": text_at(card, "last_four")})
        case "REJECTED":
            code, message = text_or_empty(card, "reason_code"), text_or_empty(card, "reason")
            return Answer("failed", code=code, message=message)
        case "PENDING":
            return Answer("progress")
    raise Unreadable("not the state of a card")
