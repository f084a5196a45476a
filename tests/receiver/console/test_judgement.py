"""How a delivery was judged, step by step, and its body as text."""

from __future__ import annotations

import gzip
import time
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.partner import Partner
from activities.signatures import SCHEMES, SignedRequest
from receiver.console.bodies import MOST_DUMPED, shown_body
from receiver.console.judgement import LARGEST_CHECKED, first_wrong, judged_steps
from receiver.deliveries.delivery import Delivery, Fate, digest
from tests.parts.deliveries import delivery
from tests.support import KEY

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URLS = CallbackURLs("https://hooks.example.com", [KEY])


def signing(secret: str = SECRET, scheme: str = "standard-webhooks") -> dict[str, Partner]:
    bank = sandbox.partner("bank", Environment({}))
    return {"bank": replace(bank, name="bank", signature=SCHEMES[scheme]([secret]))}


def signed(body: bytes = b"{}", **changes: Any) -> Delivery:
    at = time.time()
    unsigned = SignedRequest("POST", "", [], body)
    headers = SCHEMES["standard-webhooks"]([SECRET]).sign_request(unsigned, now=at, delivery_id="msg_1").headers
    known = {"body": body, "body_size": len(body), "body_digest": digest(body), "received_at": at}
    return delivery(**{**known, "headers": tuple(headers), **changes})


def states(one: Delivery, partners: dict[str, Partner], urls: CallbackURLs | None = URLS) -> dict[str, str]:
    return {step.name: step.state for step in judged_steps(one, partners, urls)}


def test_every_step_of_a_proven_delivery_is_right() -> None:
    found = states(signed(fate=Fate.TAKEN), signing())
    assert set(found.values()) == {"ok"}
    assert list(found)[:3] == ["token", "body", "signature: header"]


def test_it_is_checked_at_the_time_of_receipt() -> None:
    one = signed()
    late = replace(one, received_at=one.received_at + 3600)
    assert states(late, signing())["signature: time"] == "wrong"


def test_another_secret_is_a_key_or_bytes_that_are_unknown() -> None:
    found = states(signed(), signing("whsec_" + "QUJD" * 8))
    assert (found["signature: key"], found["signature: bytes"]) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"partner": "stranger"}, "stranger is not enabled here"),
        ({"body": None}, "the body was not kept"),
        ({"body": b"w" * (LARGEST_CHECKED + 1)}, "more than 65536 bytes"),
        ({"part_of": "whole", "part": 1}, "checked for the whole request whole"),
    ],
)
def test_a_signature_that_cannot_be_checked_is_told(changes: dict[str, Any], says: str) -> None:
    [step] = [step for step in judged_steps(replace(signed(), **changes), signing(), URLS) if "signature" in step.name]
    assert step.state == "unknown"
    assert says in step.says


def test_a_partner_that_signs_nothing_is_told() -> None:
    partners = {"bank": replace(signing()["bank"], signature=None)}
    [step] = [step for step in judged_steps(signed(), partners, URLS) if "signature" in step.name]
    assert "the token is the only proof" in step.says


def test_a_scheme_with_the_url_needs_what_makes_it() -> None:
    assert states(delivery(), signing(scheme="twilio"), None)["signature"] == "unknown"


def test_a_scheme_that_fails_is_told() -> None:
    partners = signing()
    with patch.object(type(partners["bank"].signature), "verify", side_effect=KeyError):
        [step] = [step for step in judged_steps(signed(), partners, URLS) if "signature" in step.name]
    assert (step.state, step.says) == ("unknown", "the check failed: KeyError")


def test_only_a_refused_delivery_has_failed() -> None:
    refused = delivery(verdict="gone", status=410)
    assert first_wrong(refused, list(judged_steps(refused, {}, URLS))) == "answer"
    taken = delivery()
    assert first_wrong(taken, list(judged_steps(taken, signing(), URLS))) == ""


# --- bodies


def with_body(body: bytes | None, **changes: Any) -> Delivery:
    known = body or b""
    return delivery(body=body, body_size=len(known), body_digest=digest(known), **changes)


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"", "empty", ""),
        ("été\0".encode(), "6 bytes of UTF-8 text", "été\0"),
        (b"\xff\x00A", "3 bytes that are not UTF-8 text", f"000000  {'ff 00 41':47}  ..A"),
        (None, "0 bytes, not kept", ""),
    ],
)
def test_a_body_is_text_or_digits(body: bytes | None, kind: str, text: str) -> None:
    shown = shown_body(with_body(body))
    assert (shown.kind, shown.text) == (kind, text)


def test_a_compressed_body_is_read() -> None:
    packed = gzip.compress(b"{}" * 100)
    shown = shown_body(with_body(packed, headers=(("content-encoding", "gzip"),)))
    assert (shown.kind, shown.text) == (f"200 bytes of UTF-8 text, sent as {len(packed)} bytes of gzip", "{}" * 100)


def test_a_body_that_is_wrongly_called_compressed_is_digits() -> None:
    shown = shown_body(with_body(b"plain", headers=(("content-encoding", "gzip"),)))
    assert "cannot be undone" in shown.kind
    assert shown.text.endswith("plain")


def test_a_long_binary_body_is_shown_in_part() -> None:
    shown = shown_body(with_body(b"\xff" * (MOST_DUMPED + 1)))
    assert shown.kind == f"{MOST_DUMPED + 1} bytes that are not UTF-8 text; the first {MOST_DUMPED} are shown"
    assert len(shown.text.splitlines()) == MOST_DUMPED // 16
