"""Hostile requests to what `hmac` reads together: signed headers, numbered headers, and multipart fields."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from activities.signatures import SignedRequest
from tests.parts.hmac_requests import BODY, mac, reason, request, scheme
from tests.parts.setups import NOW

# --- signed headers

NAMED: dict[str, Any] = {
    "signed": "{timestamp}\n{header:X-Client}\n{header:X-Nonce}\n{body:sha256}",
    "timestamp_header": "X-Time",
}
HEADERS = {"X-Time": str(NOW), "X-Client": "client-1", "X-Nonce": "n-1"}
SIGNED_TEXT = f"{NOW}\nclient-1\nn-1\n{hashlib.sha256(BODY).hexdigest()}"


def with_headers(*more: tuple[str, str], **changes: str | None) -> SignedRequest:
    """A request whose headers are signed, with others. None removes a header."""
    named = {**HEADERS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    pairs = [(name, value) for name, value in named.items() if value is not None]
    return request(*pairs, ("X-Sig", mac(SIGNED_TEXT)), *more)


def test_headers_that_are_signed_verify_in_any_order() -> None:
    good = with_headers(("X-Other", "not signed"))
    for one in (good, replace(good, headers=[(name.lower(), value) for name, value in reversed(good.headers)])):
        assert scheme(**NAMED).verify(one, NOW).timestamp == NOW


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        (with_headers(X_Client=None), "missing-header"),
        (with_headers(X_Nonce=None), "missing-header"),
        (with_headers(X_Client="client-2"), "mismatch"),
        (with_headers(X_Client="n-1", X_Nonce="client-1"), "mismatch"),
        (with_headers(X_Client="", X_Nonce="client-1\nn-1"), "malformed-id"),
        (with_headers(X_Client="client-1\nn-1", X_Nonce=""), "malformed-id"),
        (with_headers(X_Client=f"client-1\nn-1\n{'0' * 64}"), "malformed-id"),
        (with_headers(X_Client="CLIENT-1"), "mismatch"),
        (with_headers(X_Client=" client-1"), "mismatch"),
        (with_headers(X_Client="client-1,client-1"), "mismatch"),
        (with_headers(X_Client="cl\u0131ent-1"), "mismatch"),
        (with_headers(X_Client="\ud800"), "mismatch"),
        (with_headers(("X-Client", "client-1")), "repeated-header"),
        (with_headers(("x-client", "client-2")), "repeated-header"),
        (with_headers(("X-NONCE", "")), "repeated-header"),
        (with_headers(("X-Time", str(NOW))), "repeated-header"),
        (with_headers(("X-Sig", "0")), "repeated-header"),
        (with_headers(X_Time=f"{NOW}\nclient-1"), "malformed-timestamp"),
        (with_headers(X_Time=str(NOW + 1)), "mismatch"),
        (with_headers(X_Client=None, **{"X-\u212alient": "client-1"}), "missing-header"),
        (replace(with_headers(), body=BODY + b" "), "mismatch"),
    ],
)
def test_headers_that_are_signed_are_read_strictly(changed: SignedRequest, wanted: str) -> None:
    assert reason(scheme(**NAMED), changed) == wanted


# --- numbered headers

NUMBERED: dict[str, Any] = {"header": "X-Sig-{n}", "prefix": "v1="}
GOOD = f"v1={mac(BODY)}"


@pytest.mark.parametrize("number", [1, 2, 7, 100])
def test_any_numbered_header_may_hold_the_signature(number: int) -> None:
    others = [(f"x-sig-{other}", "v1=old") for other in (1, 3) if other != number]
    assert scheme(**NUMBERED).verify(request(*others, (f"X-Sig-{number}", GOOD)), NOW).key_index == 0


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([], "missing-header"),
        ([("X-Sig", GOOD)], "missing-header"),
        ([("X-Sig-", GOOD)], "missing-header"),
        ([("X-Sig-0", GOOD)], "missing-header"),
        ([("X-Sig-101", GOOD)], "missing-header"),
        ([("X-Sig-01", GOOD)], "missing-header"),
        ([("X-Sig-1a", GOOD)], "missing-header"),
        ([("X-Sig-{n}", GOOD)], "missing-header"),
        ([("X-Sig-\u0661", GOOD)], "missing-header"),
        ([("X-Sig-1", GOOD), ("x-sig-1", GOOD)], "repeated-header"),
        ([("X-Sig-1", "v1=old"), ("X-Sig-2", GOOD), ("X-Sig-2", "v1=old")], "repeated-header"),
        ([("X-Sig-1", GOOD.removeprefix("v1="))], "mismatch"),
        ([("X-Sig-1", f"{GOOD},{GOOD}")], "mismatch"),
        ([("X-Sig-1", GOOD[:40]), ("X-Sig-2", f"v1={GOOD[40:]}")], "mismatch"),
        ([("X-Sig-1", GOOD.upper())], "mismatch"),
        ([(f"X-Sig-{number}", "v1=old") for number in range(1, 101)], "mismatch"),
    ],
)
def test_numbered_headers_are_read_strictly(headers: list[tuple[str, str]], wanted: str) -> None:
    assert reason(scheme(**NUMBERED), request(*headers)) == wanted


# --- fields of a multipart body, as Mailgun sends them

FIELDS: dict[str, Any] = {
    "signature": "field:signature",
    "timestamp": "field:timestamp",
    "signed": "{timestamp}{field:token}",
}
PARTS = {"timestamp": str(NOW), "token": "t-1", "signature": mac(f"{NOW}t-1")}
MULTIPART = ("Content-Type", "multipart/form-data; boundary=b")


def part(name: str, value: str, more: str = "") -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


def multipart(*more: str, **changes: str | None) -> SignedRequest:
    """A signed body, with other parts after it. None removes a part."""
    parts = [part(name, value) for name, value in {**PARTS, **changes}.items() if value is not None]
    return request(MULTIPART, body="".join([*parts, *more, "--b--\r\n"]).encode("utf-8", "surrogateescape"))


def test_fields_of_a_multipart_body_are_signed() -> None:
    file = part("attachment-1", "%PDF", '; filename="a.pdf"')
    for one in (multipart(), multipart(part("event", "stored"), file)):
        assert scheme(**FIELDS).verify(one, NOW).timestamp == NOW


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        (multipart(token="t-2"), "mismatch"),
        (multipart(token=None), "malformed-body"),
        (multipart(signature=None), "malformed-body"),
        (multipart(timestamp=None), "malformed-body"),
        (multipart(part("token", "t-1")), "malformed-body"),
        (multipart(part("token", "t-2")), "malformed-body"),
        (multipart(part("signature", "0")), "malformed-body"),
        (multipart(part("timestamp", str(NOW))), "malformed-body"),
        (multipart(token=None, Token="t-1"), "malformed-body"),
        (multipart(part("token", "t-1", '; filename="a"'), token=None), "malformed-body"),
        (multipart(timestamp=str(NOW - 301)), "stale"),
        (multipart(timestamp=str(NOW + 301)), "stale"),
        (multipart(timestamp=f"{NOW}t", token="-1"), "malformed-timestamp"),
        (multipart(timestamp=f" {NOW}"), "malformed-timestamp"),
        (multipart(timestamp=str(NOW)[:-1], token=f"{str(NOW)[-1]}t-1"), "stale"),
        (multipart(signature=PARTS["signature"].upper()), "mismatch"),
        (multipart(signature=""), "mismatch"),
        (multipart(token="\udcff"), "malformed-body"),
        (multipart(*[part(f"f{number}", "") for number in range(2000)]), "malformed-body"),
        (multipart(part("body", "x" * 140_000)), "malformed-body"),
        (replace(multipart(), body=multipart().body[:-8]), "malformed-body"),
        (replace(multipart(), body=multipart().body.replace(b"--b", b"--c")), "malformed-body"),
        (replace(multipart(), headers=[("Content-Type", "multipart/form-data")]), "malformed-body"),
        (replace(multipart(), headers=[("Content-Type", "application/x-www-form-urlencoded")]), "malformed-body"),
        (replace(multipart(), body=b""), "malformed-body"),
    ],
    ids=range(25),
)
def test_fields_of_a_multipart_body_are_read_strictly(changed: SignedRequest, wanted: str) -> None:
    assert reason(scheme(**FIELDS), changed) == wanted
