"""Judgement: how a delivery was judged, step by step: token, body, signature, content, answer, signal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from activities.callback_urls import CallbackURLs
from activities.partners.partner import Partner
from activities.signatures import Scheme, SignedRequest
from activities.signatures.diagnosis import diagnose
from receiver.deliveries.delivery import Delivery, Fate, placeholder
from receiver.replay.errors import NotReplayable
from receiver.replay.sending import addressed, claims_of

StepMark = Literal["ok", "wrong", "unknown"]

LARGEST_CHECKED: Final = 64 * 1024
"""Bytes of a body whose signature is looked at. A search for what is wrong with a longer one could slow the door."""

FIRST_REFUSED: Final = 400
"""The lowest status by which a request is refused."""


@dataclass(frozen=True)
class JudgedStep:
    """A step. state: unknown if the step was not reached, or cannot be looked at here."""

    name: str
    state: StepMark
    says: str


def judged_steps(
    delivery: Delivery, partners: Mapping[str, Partner], urls: CallbackURLs | None
) -> Iterator[JudgedStep]:
    """Yield the steps. The signature is checked with today's secrets, at the time of receipt.

    partners: the enabled ones. urls: remakes the URL that the partner was given; None without PUBLIC_URL or keys.
    """
    yield _token_step(delivery)
    if not delivery.body_digest:
        yield JudgedStep("body", "wrong", f"not read to its end, {delivery.body_size} bytes or more")
    else:
        yield JudgedStep("body", "ok", f"{delivery.body_size} bytes, read to the end")
    yield from _signature_steps(delivery, partners, urls)
    if delivery.says:
        signed = f", under its own id {delivery.signed_id}" if delivery.signed_id else ""
        yield JudgedStep("content", "ok", f"{delivery.says}{signed}")
    else:
        yield JudgedStep("content", "unknown", "nothing was read in it")
    reason = f": {delivery.reason}" if delivery.reason else ""
    answered: StepMark = "wrong" if delivery.status >= FIRST_REFUSED else "ok"
    yield JudgedStep("answer", answered, f"{delivery.status} {delivery.verdict}{reason}")
    yield _signal_step(delivery)


def _token_step(delivery: Delivery) -> JudgedStep:
    if delivery.workflow_id:
        return JudgedStep("token", "ok", f"names stage {delivery.stage}, call {delivery.attempt}")
    if delivery.is_at_one_url:
        return JudgedStep("token", "unknown", "came to the partner's one URL, and names no call of ours that is known")
    return JudgedStep("token", "wrong", "not a token of ours")


def _signature_steps(
    delivery: Delivery, partners: Mapping[str, Partner], urls: CallbackURLs | None
) -> Iterator[JudgedStep]:
    partner = partners.get(delivery.partner)
    if partner is None:
        who = delivery.partner or "its partner"
        yield JudgedStep("signature", "unknown", f"{who} is not enabled here, so it cannot be checked")
    elif partner.signature is None:
        yield JudgedStep("signature", "ok", f"{partner.name} signs nothing: the token is the only proof")
    elif why_not := _unchecked(delivery):
        yield JudgedStep("signature", "unknown", why_not)
    else:
        yield from _diagnosed(partner.signature, delivery, urls)


def _unchecked(delivery: Delivery) -> str:
    """Why the signature cannot be checked here; "" if it can."""
    if delivery.part_of:
        return f"checked for the whole request {delivery.part_of}"
    if delivery.body is None:
        return "the body was not kept"
    if len(delivery.body) > LARGEST_CHECKED:
        return f"not checked here: the body has more than {LARGEST_CHECKED} bytes"
    if delivery.is_at_one_url and delivery.workflow_id and _placeholders(delivery):
        return "not checked here: the record has the run's name where the body had its token"
    return ""


def _placeholders(delivery: Delivery) -> bool:
    claims, body = claims_of(delivery), delivery.body or b""
    return any(placeholder(claims, version).encode() in body for version in (1, 2))


def _diagnosed(scheme: Scheme, delivery: Delivery, urls: CallbackURLs | None) -> Iterator[JudgedStep]:
    url = _url(delivery, urls)
    if scheme.needs_url and not url:
        yield JudgedStep("signature", "unknown", f"{scheme.name} signs the URL, which is not known here")
        return
    request = SignedRequest(delivery.method, url, delivery.headers, delivery.body or b"")
    try:
        findings = diagnose(scheme, scheme.secrets, request, delivery.received_at).findings
    except Exception as error:  # of a partner's own scheme: the rest of the page is still worth seeing
        yield JudgedStep("signature", "unknown", f"the check failed: {type(error).__name__}")
        return
    for finding in findings:
        yield JudgedStep(f"signature: {finding.step}", finding.state, finding.says)


def _url(delivery: Delivery, urls: CallbackURLs | None) -> str:
    """The URL that the partner was given; "" if it cannot be made again."""
    if urls is None:
        return ""
    if delivery.is_at_one_url:
        return urls.public_url + delivery.target
    try:
        return addressed(delivery, urls, claims_of(delivery))[0]
    except NotReplayable:
        return ""


def _signal_step(delivery: Delivery) -> JudgedStep:
    why = f": {delivery.fate_reason}" if delivery.fate_reason else ""
    tries = f", after {delivery.tries} failed tries" if delivery.tries else ""
    states: dict[Fate, tuple[StepMark, str]] = {
        Fate.NONE: ("unknown", "none: nothing of it goes to its run"),
        Fate.PENDING: ("unknown", f"pending{tries}{why}"),
        Fate.TAKEN: ("ok", f"taken by Temporal{tries}{why}"),
        Fate.REFUSED: ("wrong", f"refused{tries}{why}"),
        Fate.PARKED: ("wrong", f"parked{tries}{why}"),
    }
    state, says = states[delivery.fate]
    return JudgedStep("signal", state, says)


def first_wrong(delivery: Delivery, steps: Sequence[JudgedStep]) -> str:
    """The name of the step at which a refused delivery failed; "" for others, and if today's check finds nothing."""
    if delivery.status < FIRST_REFUSED and delivery.fate not in {Fate.REFUSED, Fate.PARKED}:
        return ""
    return next((step.name for step in steps if step.state == "wrong"), "")
