"""Templates of what an HMAC signs, and plain digests with a secret in them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from activities.signatures import SignedRequest
from tests.parts.hmac_requests import BODY, SECRET, mac, reason, request, scheme
from tests.parts.setups import NOW, URL

# --- templates


@pytest.mark.parametrize(
    ("template", "signed"),
    [
        ("{method} {path}?{query}|{body}", b"POST /callbacks/token?a=1|" + BODY),
        ("{target}{body}", b"/callbacks/token?a=1" + BODY),
        ("https://{host}{path}", b"https://hooks.example.com/callbacks/token"),
        ("{url}{query:a}{body}", URL.encode() + b"1" + BODY),
        ("{body:sha256}", hashlib.sha256(BODY).hexdigest().encode()),
        ("{body:sha512:base64}", base64.b64encode(hashlib.sha512(BODY).digest())),
        ("x\n{body:md5:raw}", b"x\n" + hashlib.md5(BODY).digest()),
        ("{header:X-Nonce}.{body}", b"n-1." + BODY),
    ],
)
def test_a_template_takes_parts_of_the_request(template: str, signed: bytes) -> None:
    one = request(("X-Sig", mac(signed)), ("X-Nonce", "n-1"))
    made = scheme(signed=template)
    made.verify(one, NOW)
    assert made.covers_body == ("{body" in template)
    assert made.covers_url == (template.startswith(("{url}", "{target}", "{method}")))
    if made.covers_body:
        assert reason(made, replace(one, body=BODY + b" ")) == "mismatch"
    if made.covers_url:
        assert reason(made, replace(one, url=f"{URL}&b=1")) == "mismatch"
    if made.needs_url:
        assert reason(made, replace(one, url="")) == "malformed-url"


ID: dict[str, Any] = {
    "signed": "{id}.{timestamp}.{body}",
    "id_header": "X-Id",
    "timestamp_header": "X-Time",
}


def with_id(*ids: str, body: bytes = BODY, now: int = NOW) -> SignedRequest:
    signed = mac(f"{(ids or ('',))[0]}.{now}.".encode() + body)
    return request(*(("X-Id", one) for one in ids), ("X-Time", str(now)), ("X-Sig", signed), body=body)


def test_a_signed_id_is_told_if_the_text_shows_where_it_ends() -> None:
    assert scheme(**ID).verify(with_id("msg_1"), NOW).delivery_id == "msg_1"
    open_ended = scheme(signed="{id}{body}", id_header="X-Id")
    one = request(("X-Id", "a"), ("X-Sig", mac(b"a" + BODY)))
    assert open_ended.verify(one, NOW).delivery_id is None
    beside_time = scheme(**{**ID, "signed": "{id}{timestamp}{body}"})
    one = request(("X-Id", "a"), ("X-Time", str(NOW)), ("X-Sig", mac(f"a{NOW}".encode() + BODY)))
    assert beside_time.verify(one, NOW).delivery_id == "a"


@pytest.mark.parametrize(
    "ids",
    [(), ("a", "a"), ("",), ("a.5",), (".",), ("a b",), ("a\n",), ("x" * 257,), ("\u00e9",), ("a\0",), ("\u212a",)],
)
def test_a_signed_id_is_strict(ids: tuple[str, ...]) -> None:
    assert reason(scheme(**ID), with_id(*ids)) in {"missing-header", "repeated-header", "malformed-id"}


def test_no_text_moves_between_an_id_and_the_body() -> None:
    one = with_id("a", body=f"{NOW}.x".encode(), now=5)
    headers = [("X-Id", "a.5"), ("X-Time", str(NOW)), one.headers[-1]]
    assert reason(scheme(**ID), replace(one, headers=headers, body=b"x")) == "malformed-id"
    last = scheme(signed="{body}.{id}", id_header="X-Id")
    moved = request(("X-Id", "a.b"), ("X-Sig", mac(BODY + b".a.b")))
    assert reason(last, moved) == "malformed-id"
    two = scheme(signed="{header:X-A}|{header:X-B}|{body}")
    moved = request(("X-A", "1|2"), ("X-B", "3"), ("X-Sig", mac(b"1|2|3|" + BODY)))
    assert reason(two, moved) == "malformed-id"


def test_no_zero_moves_from_before_a_time_into_it() -> None:
    made = scheme(signed="{url}{timestamp}", timestamp_header="X-Time")
    signature = ("X-Sig", mac(f"{URL}0{NOW}"))
    made.verify(request(signature, ("X-Time", str(NOW)), url=f"{URL}0"), NOW)
    assert reason(made, request(signature, ("X-Time", f"0{NOW}"))) == "malformed-timestamp"


def test_an_id_after_a_time_is_told() -> None:
    made = scheme(signed="{timestamp}{id}.{body}", id_header="X-Id", timestamp_header="X-Time")
    one = request(("X-Id", "a"), ("X-Time", str(NOW)), ("X-Sig", mac(f"{NOW}a.".encode() + BODY)))
    assert made.verify(one, NOW).delivery_id == "a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Nonce", None),
        ("X-Nonce", "n-2"),
        ("X-Nonce", ""),
        ("X-Nonce", "n-1 "),
        ("X-Nonce", "N-1"),
        ("X-Other", "n-1"),
    ],
)
def test_a_signed_header_is_what_was_signed(name: str, value: str | None) -> None:
    headers = [("X-Sig", mac(b"n-1." + BODY)), *([(name, value)] if value is not None else [])]
    assert reason(scheme(signed="{header:X-Nonce}.{body}"), request(*headers)) in {"missing-header", "mismatch"}
    both = request(*headers[:1], ("X-Nonce", "n-1"), ("x-nonce", "n-1"))
    assert reason(scheme(signed="{header:X-Nonce}.{body}"), both) == "repeated-header"


# --- a plain digest


def digest(*parts: bytes, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, b"".join(parts)).hexdigest()


def test_a_template_with_the_secret_is_a_digest() -> None:
    key = SECRET.encode()
    scheme(signed="{secret}{body}").verify(request(("X-Sig", digest(key, BODY))), NOW)
    scheme(signed="{body}{secret}", algorithm="sha1").verify(
        request(("X-Sig", digest(BODY, key, algorithm="sha1"))), NOW
    )


def continuations() -> list[bytes]:
    """Bodies by which a forger who knows only the secret's length continues a digest."""
    length = len(SECRET) + len(BODY)
    padding = b"\x80" + bytes((55 - length) % 64) + (8 * length).to_bytes(8, "big")
    return [BODY + padding, BODY + padding + b"&paid=1", BODY + padding + b'{"a": 2}', BODY + b"\x80"]


@pytest.mark.parametrize(
    "body", [*continuations(), b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"]
)
def test_a_digest_cannot_be_continued(body: bytes) -> None:
    for template in ("{secret}{body}", "x{secret}|{body}"):
        signed = template.replace("{secret}", SECRET).encode().replace(b"{body}", body)
        assert reason(scheme(signed=template), request(("X-Sig", digest(signed)), body=body)) == "malformed-body"


def test_a_digest_is_not_an_hmac_and_not_of_another_secret() -> None:
    made = scheme(signed="{secret}{body}")
    for text in (mac(BODY), digest(BODY), digest(b"another", BODY), digest(BODY, SECRET.encode()), "", digest(b"")):
        assert reason(made, request(("X-Sig", text))) == "mismatch"
