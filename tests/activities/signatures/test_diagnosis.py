"""The step at which a signature fails is found, and named: header, time, bytes."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from tests.parts.diagnosed import DOCUSIGN, SIGNED, STRIPE, diagnosed, numbered, says, states
from tests.parts.setups import NOW, SETUPS, URL, Setup, every, headed, timed

pytestmark = pytest.mark.system


@every
def test_what_verifies_is_ok_at_every_step(setup: Setup) -> None:
    diagnosis = diagnosed(setup, setup.signed())
    assert states(diagnosis) == ["ok"] * 4
    assert (diagnosis.failed, diagnosis.reason) == ("", "")
    assert says(diagnosis, "key") == f"secret 1 of {len(setup.secrets)}"


# --- header


@headed
def test_a_missing_header_is_named_beside_those_that_are_there(setup: Setup) -> None:
    header = setup.scheme().header
    request = setup.signed()
    headers = [("X-Webhook-Other", "x"), *(pair for pair in request.headers if pair[0] != header)]
    diagnosis = diagnosed(setup, replace(request, headers=headers))
    assert (diagnosis.failed, states(diagnosis)) == ("header", ["wrong", "unknown", "unknown", "unknown"])
    assert header in says(diagnosis, "header")
    assert "X-Webhook-Other" in says(diagnosis, "header")


@headed
def test_a_repeated_header_is_a_wrong_header(setup: Setup) -> None:
    request = setup.signed()
    assert diagnosed(setup, replace(request, headers=[*request.headers, request.headers[-1]])).failed == "header"


@pytest.mark.parametrize(
    ("name", "change", "phrase"),
    [
        ("github", lambda value: value.upper().replace("SHA", "sha"), "in lower case"),
        ("github", lambda value: value.removeprefix("sha256="), "with `sha256=` before the signature"),
        ("github", lambda value: f'"{value}"', "without the blanks or quotes around it"),
        (
            "github",
            lambda value: "sha256=" + base64.b64encode(bytes.fromhex(value.removeprefix("sha256="))).decode(),
            "written in hex",
        ),
        ("shopify", lambda value: base64.b64decode(value).hex(), "written in base64"),
        ("shopify", lambda value: value.rstrip("="), "in the base64 that is not for URLs, padded"),
        ("shopify", lambda value: f"sha256={value}", "with nothing before the signature"),
        ("svix", lambda value: value.removeprefix("v1,"), "with `v1,` before the signature"),
    ],
)
def test_a_signature_in_another_form_is_a_wrong_header(name: str, change: Any, phrase: str) -> None:
    setup = SETUPS[name]
    request = setup.signed()
    headers = [(key, change(value) if key == setup.scheme().header else value) for key, value in request.headers]
    diagnosis = diagnosed(setup, replace(request, headers=headers))
    assert (diagnosis.failed, diagnosis.reason) == ("header", "mismatch")
    assert phrase in says(diagnosis, "header")


@pytest.mark.parametrize(
    ("name", "value", "phrase"),
    [
        ("github", "sha256=abc", "no `sha256=` with 64 characters"),
        ("stripe", f"t={NOW},v0={'a' * 64}", "no `v1=` with 64 characters"),
        ("shopify", "-", "no signature of 44 characters"),
        ("shopify", "", "no signature of 44 characters"),
    ],
)
def test_a_header_without_the_schemes_signature_is_wrong(name: str, value: str, phrase: str) -> None:
    setup = SETUPS[name]
    diagnosis = diagnosed(setup, replace(setup.signed(), headers=[(setup.scheme().header, value)]))
    assert diagnosis.failed == "header"
    assert phrase in says(diagnosis, "header")


def test_every_numbered_header_is_looked_at() -> None:
    [(_, good)] = DOCUSIGN.signed().headers
    hexadecimal = diagnosed(DOCUSIGN, numbered(n2=base64.b64decode(good).hex()))
    assert says(hexadecimal, "header") == "X-DocuSign-Signature-2 would match written in base64"
    stranger = diagnosed(replace(DOCUSIGN, secrets=("another",)), numbered(n1="short", n2=good))
    assert stranger.failed == "key or bytes"
    assert says(stranger, "header") == "X-DocuSign-Signature-1 and X-DocuSign-Signature-2 are there"
    assert "in X-DocuSign-Signature-3 or X-DocuSign-Signature-4" in says(
        diagnosed(DOCUSIGN, numbered(n3="x", n4="y")), "header"
    )


# --- time


@timed
def test_a_stale_request_says_when_it_was_signed(setup: Setup) -> None:
    diagnosis = diagnosed(setup, setup.signed(), NOW + 90_000)
    assert (diagnosis.failed, states(diagnosis)) == ("time", ["ok", "wrong", "ok", "ok"])
    assert says(diagnosis, "time") == (
        "signed 2027-01-15T08:00:00Z, 90000 s (1 d 1 h) before the clock; 300 s are allowed"
    )


def test_a_stale_request_with_another_body_says_both() -> None:
    diagnosis = diagnosed(STRIPE, replace(STRIPE.signed(), body=STRIPE.body + b"\n"), NOW - 400)
    assert (diagnosis.failed, states(diagnosis)) == ("time", ["ok", "wrong", "ok", "wrong"])
    assert "400 s after the clock" in says(diagnosis, "time")
    assert "without a final newline" in says(diagnosis, "bytes")


def test_milliseconds_are_recognised() -> None:
    setup = SETUPS["slack"]
    headers = [(key, f"{NOW}000" if "Timestamp" in key else value) for key, value in setup.signed().headers]
    diagnosis = diagnosed(setup, replace(setup.signed(), headers=headers))
    assert diagnosis.failed == "time"
    assert 'these are milliseconds: time_unit="ms"' in says(diagnosis, "time")


# --- bytes


@pytest.mark.parametrize(
    ("signed", "delivered", "phrase"),
    [
        (b"x", b"x\n", "without a final newline"),
        (b"x", b"x\r\n", "without a final newline"),
        (b"x\n", b"x", "with a final newline (LF)"),
        (b"x\r\n", b"x", "with a final newline (CRLF)"),
        (b"x\r\n", b"x\n", "with a final newline (CRLF)"),
        (b"x", b"\xef\xbb\xbfx", "without its byte order mark"),
        (b"\xef\xbb\xbfx", b"x", "with a byte order mark (BOM)"),
        (b"x\ny", b"x\r\ny", "with LF in place of CRLF"),
        (b"x\r\ny\r\n", b"x\ny\n", "with CRLF in place of LF"),
        (b"x\ny\n", b"x\r\ny", "with LF in place of CRLF and with a final newline (LF)"),
        (SIGNED, b'{\n  "a": "\xc3\xa9/x",\n  "b": [1, 2.50]\n}\n', "compacted (JSON without blanks)"),
        (SIGNED + b"\n", b'{"a": "\xc3\xa9/x", "b": [1, 2.50]}', "and with a final newline (LF)"),
        (b'{"a":"\xc3\xa9"}', b'{"a": "\\u00e9"}', "as JavaScript's JSON.stringify writes it"),
        (b'{"a": "\\u00e9", "b": 1}', b'{"a":"\xc3\xa9","b":1}', "as Python's json.dumps writes it"),
        (b'{"a": "\xc3\xa9"}', b'{"a":"\\u00e9"}', "as Python's json.dumps writes it with ensure_ascii=False"),
        (b'{"a":"\\u00e9"}', b'{"a": "\xc3\xa9"}', "without blanks and with escapes for non-ASCII"),
        (b'{"a":"\\u00e9\\/"}', b'{"a":"\xc3\xa9/"}', "as PHP's json_encode writes it"),
        (b'{\n  "a": 1\n}', b'{"a":1}', "indented by two blanks"),
        (b'{\n    "a": 1\n}\n', b'{"a":1}', "indented by four blanks and with a final newline (LF)"),
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}', "with its keys sorted"),
        (b"caf\xc3\xa9", b"cafe\xcc\x81", "composed (Unicode NFC)"),
        (b"cafe\xcc\x81", b"caf\xc3\xa9", "decomposed (Unicode NFD)"),
        (b"caf\xc3\xa9", b"caf\xc3\x83\xc2\xa9", "decoded from UTF-8 twice"),
        (b"hello, body", b"5\r\nhello\r\n6\r\n, body\r\n0\r\n\r\n", "with its chunks joined"),
    ],
)
def test_a_changed_body_is_told_with_what_would_have_matched(signed: bytes, delivered: bytes, phrase: str) -> None:
    diagnosis = diagnosed(STRIPE, replace(STRIPE.signed(signed), body=delivered))
    assert (diagnosis.failed, states(diagnosis)) == ("bytes", ["ok", "ok", "ok", "wrong"])
    assert says(diagnosis, "bytes").endswith(phrase)
    assert f"{len(delivered)} bytes" in says(diagnosis, "bytes")


def test_a_public_key_tells_a_changed_body_too() -> None:
    for name in ("sendgrid", "discord", "standard-webhooks v1a"):
        setup = SETUPS[name]
        assert diagnosed(setup, replace(setup.signed(), body=setup.body + b"\n")).failed == "bytes"


def test_a_body_longer_than_its_content_length_is_cut() -> None:
    request = STRIPE.signed(b"x")
    headers = [*request.headers, ("Content-Length", "1")]
    assert "cut to its Content-Length" in says(
        diagnosed(STRIPE, replace(request, headers=headers, body=b"x and more")), "bytes"
    )
    shorter = diagnosed(STRIPE, replace(request, headers=headers, body=b""))
    assert "while Content-Length says 1" in says(shorter, "bytes")


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda url: url.replace("https", "http"), "with https:// in the URL"),
        (lambda url: url.replace(".com/", ".com:8443/"), "without the URL's port"),
        (lambda url: url.replace("?", "/?"), "without the / at the end of the URL's path"),
    ],
)
@pytest.mark.parametrize("name", ["square", "hmac timed"])
def test_another_url_is_told_by_how_it_differs(name: str, change: Any, phrase: str) -> None:
    setup = SETUPS[name]
    diagnosis = diagnosed(setup, replace(setup.signed(), url=change(URL)))
    assert diagnosis.failed == "bytes"
    assert phrase in says(diagnosis, "bytes")
    assert "token" not in says(diagnosis, "bytes")


def test_twilios_other_reasons_are_about_the_bytes() -> None:
    setup = SETUPS["twilio json"]
    assert diagnosed(setup, replace(setup.signed(), body=b"[]")).reason == "body-mismatch"
    assert "without a final newline" in says(diagnosed(setup, replace(setup.signed(), body=b"{}\n")), "bytes")
    form = SETUPS["twilio form"]
    json_body = replace(form.signed(), headers=[*form.signed().headers, ("Content-Type", "application/json")])
    for request in (json_body, replace(form.signed(), url=f"{URL}&bodySHA256=")):
        assert diagnosed(form, request).failed == "bytes"
