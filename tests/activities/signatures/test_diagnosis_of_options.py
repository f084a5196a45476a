"""The diagnosis names the secret or option that would have matched, quotes no secret, and is fast."""

from __future__ import annotations

import contextlib
import gzip
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activities.signatures import SCHEMES, ConfigError, SignatureError, SignedRequest
from activities.signatures.diagnosis import STEP_OF, STEPS, diagnose
from tests.parts.diagnosed import STAMPED, STRIPE, diagnosed, says, states
from tests.parts.examples import examples
from tests.parts.setups import NOW, SETUPS, URL, WHSEC, Setup, b64, every, headed
from tests.parts.vectors import CASES, body_of

pytestmark = pytest.mark.system


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
