"""What a diagnosis says of every scheme, of each thing that goes wrong on the way, and what it never says."""

from __future__ import annotations

import base64
import contextlib
import gzip
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activities.signatures import SCHEMES, ConfigError, SignatureError, SignedRequest
from activities.signatures.diagnosis import STEP_OF, STEPS, Diagnosis, diagnose
from tests.parts.examples import examples
from tests.parts.setups import NOW, SETUPS, URL, WHSEC, Setup, b64, every, headed, timed
from tests.parts.vectors import CASES, body_of

pytestmark = pytest.mark.system

STRIPE = SETUPS["stripe"]
SIGNED = b'{"a":"\xc3\xa9/x","b":[1,2.50]}'


def diagnosed(setup: Setup, request: SignedRequest, now: float = NOW) -> Diagnosis:
    return diagnose(setup.scheme(), setup.secrets, request, now)


def says(diagnosis: Diagnosis, step: str) -> str:
    [finding] = [finding for finding in diagnosis.findings if finding.step == step]
    return finding.says


def states(diagnosis: Diagnosis) -> list[str]:
    assert tuple(finding.step for finding in diagnosis.findings) == STEPS
    return [finding.state for finding in diagnosis.findings]


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


DOCUSIGN = SETUPS["docusign"]


def numbered(**values: str) -> SignedRequest:
    """A request of DocuSign's with these of its headers: `n2` is number 2."""
    headers = [(f"X-DocuSign-Signature-{name[1:]}", value) for name, value in values.items()]
    return SignedRequest("POST", URL, headers, DOCUSIGN.body)


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


# --- key


@every
def test_the_secret_that_matches_is_named(setup: Setup) -> None:
    if "private_key" not in setup.options and len(setup.secrets) > 1:
        diagnosis = diagnosed(setup, setup.signed(secrets=setup.secrets[::-1]))
        assert says(diagnosis, "key") == "secret 2 of 2"


@pytest.mark.parametrize(
    ("name", "secret", "signed_with", "phrase"),
    [
        ("standard-webhooks", WHSEC, WHSEC.encode(), "secret 1 taken as plain text"),
        ("svix", WHSEC, WHSEC.removeprefix("whsec_").encode(), "as plain text without its prefix"),
        ("stripe", WHSEC, bytes(range(24)), "decoded from base64"),
        ("github", "ab" * 20, b"\xab" * 20, "decoded from hex"),
        ("adyen-platform", "AB" * 32, b"AB" * 32, "as plain text"),
        ("github", "'quoted'", b"quoted", "without the quotes around it"),
        ("shopify", "secret", b"secret\n", "with a newline at its end"),
        ("twilio", "aGVsbG8gd29ybGQ", b"hello world", "decoded from base64"),
    ],
)
def test_a_secret_that_is_read_otherwise_is_told(name: str, secret: str, signed_with: bytes, phrase: str) -> None:
    ours = SCHEMES[name](secrets=[secret])
    theirs = ours.with_key(signed_with)
    assert theirs is not None
    request = SignedRequest("POST", URL, theirs.sign(b"a=1", url=URL, now=NOW, delivery_id="m"), b"a=1")
    diagnosis = diagnose(ours, [secret], request, NOW)
    assert (diagnosis.failed, states(diagnosis)) == ("key", ["ok", "ok", "wrong", "ok"])
    assert phrase in says(diagnosis, "key")


@pytest.mark.parametrize("name", ["basic", "bearer"])
def test_credentials_are_a_wrong_key_or_of_another_kind(name: str) -> None:
    setup = SETUPS[name]
    other = replace(setup, secrets=("some:thing",)).signed()
    assert diagnosed(setup, other).failed == "key"
    diagnosis = diagnosed(setup, replace(other, headers=[("Authorization", "Digest x")]))
    assert diagnosis.failed == "header"
    assert f"`{name.title()} `" in says(diagnosis, "header")


@every
def test_a_stranger_is_not_told_apart_from_another_body(setup: Setup) -> None:
    if not setup.scheme().covers_body:
        return
    body = b"Stranger=1" if setup.name == "twilio" else gzip.compress(b"a stranger's")
    request = setup.signed()
    diagnosis = diagnosed(setup, replace(request, body=body))
    expected = "bytes" if diagnosis.reason == "body-mismatch" else "key or bytes"
    assert diagnosis.failed == expected


def test_a_signature_whose_length_varies_is_never_misshapen() -> None:
    """SendGrid's DER encoding has 92 or 96 characters; a captured one is not compared with the length of ours."""
    setup = SETUPS["sendgrid"]
    signed = (setup.signed() for _ in range(10_000))  # one in some two hundred is shorter
    short = next(request for request in signed if len(dict(request.headers)[setup.scheme().header]) == 92)
    for _ in range(5):  # what the diagnosis signs for comparison has 96 characters, nearly always
        assert diagnosed(setup, replace(short, body=b"another")).failed == "key or bytes"


# --- other options


STAMPED = {"header": "X-Sig", "timestamp_header": "X-Time", "signed": "{timestamp}.{body}"}


@pytest.mark.parametrize(
    ("signed_with", "set_up_with", "step", "option"),
    [
        ({**STAMPED, "time_unit": "ms"}, STAMPED, "time", 'time_unit="ms"'),
        ({**STAMPED, "time_unit": "iso"}, STAMPED, "time", 'time_unit="iso"'),
        (STAMPED, {**STAMPED, "time_unit": "ms"}, "time", 'time_unit="s"'),
        ({"header": "X-Sig", "key": "base64"}, {"header": "X-Sig"}, "key", 'key="base64"'),
        ({"header": "X-Sig", "encoding": "hex-upper"}, {"header": "X-Sig"}, "header", 'encoding="hex-upper"'),
        (
            {"header": "X-Sig", "encoding": "base64url"},
            {"header": "X-Sig", "encoding": "base64"},
            "header",
            'encoding="base64url"',
        ),
        (
            {"header": "X-Sig", "form": "t={timestamp},v2={signature}", "signed": "{timestamp}.{body}"},
            {"header": "X-Sig", "form": "t={timestamp},v1={signature}", "signed": "{timestamp}.{body}"},
            "header",
            'form="t={timestamp},v2={signature}"',
        ),
        (
            {"header": "X-Sig", "form": "time={timestamp},v1={signature}", "signed": "{timestamp}.{body}"},
            {"header": "X-Sig", "form": "t={timestamp},v1={signature}", "signed": "{timestamp}.{body}"},
            "header",
            'form="time={timestamp},v1={signature}"',
        ),
        (
            {"header": "X-Sig", "form": "t={timestamp};v1={signature}", "signed": "{timestamp}.{body}"},
            {"header": "X-Sig", "form": "t={timestamp},v1={signature}", "signed": "{timestamp}.{body}"},
            "time",
            'form="t={timestamp};v1={signature}"',
        ),
        ({"header": "X-Sig", "prefix": "sha256="}, {"header": "X-Sig"}, "header", 'prefix="sha256="'),
        ({"header": "X-Sig"}, {"header": "X-Sig", "prefix": "sha256="}, "header", 'prefix=""'),
        (
            {"header": "X-Sig", "prefix": "HMAC ", "encoding": "base64"},
            {"header": "X-Sig"},
            "header",
            'encoding="base64", prefix="HMAC "',
        ),
        ({**STAMPED, "signed": "{timestamp}{body}"}, STAMPED, "bytes", 'signed="{timestamp}{body}"'),
        ({"header": "X-Sig", "algorithm": "sha1"}, {"header": "X-Sig"}, "bytes", 'algorithm="sha1"'),
        ({"header": "X-Sig", "signed": "{secret}{body}"}, {"header": "X-Sig"}, "bytes", 'signed="{secret}{body}"'),
        (
            {**STAMPED, "time_unit": "ms", "encoding": "base64"},
            STAMPED,
            "time",
            'time_unit="ms", encoding="base64"',
        ),
    ],
)
def test_the_options_that_would_match_are_told(
    signed_with: dict[str, Any], set_up_with: dict[str, Any], step: str, option: str
) -> None:
    secret = b64(bytes(range(24)))
    request = SCHEMES["hmac"](secrets=[secret], **signed_with).sign_request(
        SignedRequest("POST", URL, [], b"{}"), now=NOW, delivery_id=""
    )
    diagnosis = diagnose(SCHEMES["hmac"](secrets=[secret], **set_up_with), [secret], request, NOW)
    assert diagnosis.failed == step
    assert says(diagnosis, step).endswith(f"the request verifies with {option}")


@pytest.mark.timeout(20)
def test_a_header_of_blanks_is_diagnosed_fast() -> None:
    options: dict[str, Any] = {"header": "X-Sig"}
    scheme = SCHEMES["hmac"](secrets=[WHSEC], **options)
    request = SignedRequest("POST", URL, [("X-Sig", " " * 100_000)], b"{}")
    assert diagnose(scheme, [WHSEC], request, NOW).failed == "header"


def test_of_two_encodings_that_fit_the_common_one_is_told() -> None:
    """This signature has neither `-` nor `_`, so it is the same in base64url and in unpadded base64."""
    secret = b64(bytes(range(24)))
    header: dict[str, Any] = {"header": "X-Sig"}
    signer = SCHEMES["hmac"](secrets=[secret], **{**header, "encoding": "base64url"})
    request = signer.sign_request(SignedRequest("POST", URL, [], b'{"n":0}'), now=NOW, delivery_id="")
    diagnosis = diagnose(SCHEMES["hmac"](secrets=[secret], **header), [secret], request, NOW)
    assert says(diagnosis, "header").endswith('encoding="base64url"')


# --- whatever comes


@headed
@example(value="", body=b"")
@example(value="=,=,v1=", body=b'{"a": ' * 3)
@example(value="\udcff", body=b'"\\ud800"')
@given(value=st.text(max_size=80), body=st.binary(max_size=80))
@examples(30)
def test_no_diagnosis_quotes_a_secret(setup: Setup, value: str, body: bytes) -> None:
    request = setup.signed()
    headers = [(name, value if name == setup.scheme().header else old) for name, old in request.headers]
    diagnosis = diagnosed(setup, replace(request, headers=headers, body=body))
    shown = " ".join(finding.says for finding in diagnosis.findings)
    good = dict(setup.signed(body).headers)[setup.scheme().header] if setup.name != "twilio" else ""
    assert diagnosis.failed
    assert not any(secret in shown for secret in setup.secrets)
    assert not good or good not in shown


@pytest.mark.parametrize("body", [b"[" * 100_000, b'"' * 100_001, b"9" * 5000, b"1e999", b"NaN", b"ffffffff\r\n"])
def test_a_body_made_to_hurt_is_diagnosed_all_the_same(body: bytes) -> None:
    assert diagnosed(STRIPE, replace(STRIPE.signed(b"x"), body=body)).failed == "key or bytes"


@pytest.mark.skipif(not CASES, reason="the collection of signatures is not beside the project")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['scheme']}: {case['case'][:50]}")
def test_a_published_case_fails_at_the_step_of_its_reason(case: dict[str, Any]) -> None:
    now = 0.0 if case["now"] is None else case["now"]
    request = SignedRequest(
        case["method"] or "POST", case["url"] or URL, [(name, value) for name, value in case["headers"]], body_of(case)
    )
    with contextlib.suppress(ConfigError):
        scheme = SCHEMES[case["scheme"]](secrets=[case["secret"]], tolerance=300, **case.get("options", {}))
        diagnosis = diagnose(scheme, [case["secret"]], request, now)
        if case["expect"] != "reject" or case.get("layer") == "parse":
            assert diagnosis.failed == ""
            return
        with pytest.raises(SignatureError) as raised:
            scheme.verify(request, now)
        steps = (
            {STEP_OF[raised.value.reason]}
            if raised.value.reason in STEP_OF
            else {"header", "key", "bytes", "key or bytes"}
        )
        assert diagnosis.reason == raised.value.reason
        assert diagnosis.failed in steps
        assert diagnosis.failed in {*STEPS, "key or bytes"}
