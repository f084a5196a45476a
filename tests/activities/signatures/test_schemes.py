"""Every scheme: what it signs verifies, any single-bit change is refused, and no bytes raise anything else."""

from __future__ import annotations

import hashlib
import hmac
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from activities.environment import Environment
from activities.partners.partner import signature
from activities.signatures import SCHEMES, ConfigError, SignatureError, SignedRequest
from activities.signatures.ed25519 import PRIME, SIGN_BIT, SMALL_ORDER
from tests.parts.examples import examples
from tests.parts.setups import (
    EC_PUBLIC,
    ED,
    NOW,
    OTHER_EC,
    SETUPS,
    SHA_URL,
    URL,
    Setup,
    b64,
    every,
    headed,
    timed,
)

UNKNOWN_CURVE = EC_PUBLIC.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d0301ff"))
"""The key with the name of another curve, which no library knows."""


covering = pytest.mark.parametrize(
    "setup",
    [s for s in SETUPS.values() if s.scheme().covers_body],
    ids=[n for n, s in SETUPS.items() if s.scheme().covers_body],
)


def reason(setup: Setup, request: SignedRequest, now: float = NOW) -> str:
    with pytest.raises(SignatureError) as raised:
        setup.scheme().verify(request, now)
    return raised.value.reason


def flip(raw: bytes, bit: int) -> bytes:
    at = bit % (8 * len(raw))
    return raw[: at // 8] + bytes([raw[at // 8] ^ (1 << at % 8)]) + raw[at // 8 + 1 :]


def test_every_scheme_of_the_list_is_here() -> None:
    assert {setup.name for setup in SETUPS.values()} == set(SCHEMES)
    assert all(SCHEMES[name].name == name and SCHEMES[name].__doc__ for name in SCHEMES)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_names_the_options_of_its_constructor(name: str) -> None:
    scheme = SCHEMES[name]
    private_key = ("private_key",) if scheme.takes_private_key else ()
    taken = inspect.signature(scheme).parameters
    assert set(taken) == {"secrets", "tolerance", *private_key, *scheme.options}


@pytest.mark.parametrize("name", [name for name in SCHEMES if SCHEMES[name].sample_secret])
def test_a_sample_secret_signs_and_is_long_enough(name: str) -> None:
    faults = Environment({"SECRET": SCHEMES[name].sample_secret})
    scheme = signature(name, faults, "SECRET", fix="")
    assert scheme is not None
    headers = scheme.sign(b"{}", url=URL, now=NOW, delivery_id="m")
    assert scheme.verify(SignedRequest("POST", URL, headers, b"{}"), NOW).key_index == 0


def test_only_schemes_that_need_more_than_a_secret_lack_a_sample() -> None:
    without = {name for name in SCHEMES if not SCHEMES[name].sample_secret}
    assert without == {
        *("sendgrid", "discord", "twilio", "hmac", "header-secret"),
        *("jwt", "detached-jws", "public-key", "http-message-signatures", "sns", "paypal", "adyen-classic"),
    }


# --- what holds for all of them


@every
def test_what_is_signed_verifies_and_tells_what_it_proves(setup: Setup) -> None:
    verified = setup.scheme().verify(setup.signed(), NOW)
    assert verified.key_index == 0
    assert verified.timestamp == (NOW if setup.timed else None)
    assert verified.delivery_id == ("msg_1" if setup.with_id else None)


@every
def test_each_secret_verifies_and_says_which_it_was(setup: Setup) -> None:
    for index, secret in enumerate(setup.secrets):
        if setup.options.get("private_key") is None:
            assert setup.scheme().verify(setup.signed(secrets=[secret]), NOW).key_index == index


@covering
@given(body=st.binary(max_size=200), bit=st.integers(0, 10_000))
@examples(25)
def test_any_body_signs_and_any_changed_bit_of_it_is_refused(setup: Setup, body: bytes, bit: int) -> None:
    if setup.name == "twilio":  # of a pair that stands there twice, one is not covered
        body = setup.body.replace(b"&To=%2B1", b"", 1)
    request = setup.signed(body)
    setup.scheme().verify(request, NOW)
    if body:
        changed = flip(body, bit)
        with pytest.raises(SignatureError):
            setup.scheme().verify(replace(request, body=changed), NOW)


@headed
@given(place=st.integers(0, 5), bit=st.integers(0, 10_000))
@examples(40)
def test_any_changed_bit_of_a_signed_header_is_refused(setup: Setup, place: int, bit: int) -> None:
    request = setup.signed()
    at = place % len(request.headers)
    name, value = request.headers[at]
    changed = flip(value.encode("latin-1"), bit).decode("latin-1")
    altered = replace(request, headers=[*request.headers[:at], (name, changed), *request.headers[at + 1 :]])
    if name == "Authorization" and same_but_for_the_schemes_case(value, changed):
        setup.scheme().verify(altered, NOW)
        return
    if name == "PAYPAL-CERT-URL":  # not signed; where a certificate is pinned, it names none
        return
    with pytest.raises(SignatureError):
        setup.scheme().verify(altered, NOW)


def same_but_for_the_schemes_case(value: str, other: str) -> bool:
    """Whether two values of Authorization differ only in the case of the scheme's name (RFC 9110, 11.1)."""
    (scheme, _, rest), (other_scheme, _, other_rest) = value.partition(" "), other.partition(" ")
    return (scheme.lower(), rest) == (other_scheme.lower(), other_rest)


@pytest.mark.parametrize("name", ["square", "twilio form", "twilio json", "hmac timed", "http-message-signatures"])
@given(bit=st.integers(0, 10_000))
@examples(40)
def test_any_changed_bit_of_a_signed_url_is_refused(name: str, bit: int) -> None:
    setup = SETUPS[name]
    request = setup.signed()
    changed = flip(request.url.encode(), bit).decode("latin-1")
    with pytest.raises(SignatureError):
        setup.scheme().verify(replace(request, url=changed), NOW)


headers_of_any_kind = st.lists(
    st.tuples(
        st.sampled_from(sorted({name for setup in SETUPS.values() for name, _ in setup.signed().headers}))
        | st.text(max_size=10),
        st.text(max_size=60)
        | st.sampled_from(["t=1,v1=", "ts=1;h1=", "v1,", "=", ",", " ", "1" * 13, "\x00", "\ud800"]),
    ),
    max_size=6,
)


@every
@given(
    headers=headers_of_any_kind,
    url=st.text(max_size=40) | st.sampled_from(["https://[/?bodySHA256=%", "", None]),
    body=st.binary(max_size=50),
)
@examples(60)
def test_any_request_raises_a_signature_error_or_nothing(
    setup: Setup, headers: list[tuple[str, str]], url: Any, body: bytes
) -> None:
    with pytest.raises(SignatureError) as raised:
        setup.scheme().verify(SignedRequest("POST", url, headers, body), NOW)
    assert raised.value.reason


@headed
def test_a_security_header_repeated_or_missing_is_refused(setup: Setup) -> None:
    request = setup.signed()
    for name, value in request.headers:
        again = [*request.headers, (name.upper(), value)]
        assert reason(setup, replace(request, headers=again)) == "repeated-header"
        without = [pair for pair in request.headers if pair[0] != name]
        assert reason(setup, replace(request, headers=without)) == "missing-header"


@timed
def test_the_tolerance_holds_both_ways_and_is_inclusive(setup: Setup) -> None:
    request = setup.signed()
    for apart in (-300, 300):
        setup.scheme().verify(request, NOW + apart)
    for apart in (-301, 301):
        assert reason(setup, request, NOW + apart) in {"stale", "mismatch"}


@timed
@pytest.mark.parametrize("now", [float("nan"), float("inf"), float("-inf"), -1.0, 10**400])
def test_a_clock_that_shows_no_time_proves_nothing(setup: Setup, now: float) -> None:
    assert reason(setup, setup.signed(), now) in {"stale", "mismatch"}


@timed
@pytest.mark.parametrize(
    "text", ["", " 1800000000", "1800000000 ", "+1800000000", "1_800_000_000", "1.8e9", "١٨", "-1", "nan"]
)
def test_a_timestamp_is_decimal_digits_and_nothing_else(setup: Setup, text: str) -> None:
    if setup.encoded:
        return
    request = setup.signed()
    headers = [(name, value.replace(str(NOW), text)) for name, value in request.headers]
    assert headers != list(request.headers)
    assert reason(setup, replace(request, headers=headers)) in {"malformed-timestamp", "malformed-header", "mismatch"}


@pytest.mark.system
@every
@pytest.mark.parametrize(
    "secrets",
    [
        [],
        [""],
        ["  "],
        "a-bare-string",
        [None],
        ["good-secret", ""],
        [" padded "],
        ["new\n"],
        ["whsec_"],
        ["\u200b\ufeff"],
        ["\ufeffsecret"],
        ["secret\u200b"],
        ["no-\udcff-text"],
        5,
        {"a", "b"},
    ],
)
def test_a_missing_or_blank_secret_is_an_error_at_construction(setup: Setup, secrets: Any) -> None:
    with pytest.raises(ConfigError):
        setup.scheme(secrets=secrets)


@every
@pytest.mark.parametrize("tolerance", [-1, True, 1.5, None, "300"])
def test_a_tolerance_is_a_number_of_seconds(setup: Setup, tolerance: Any) -> None:
    with pytest.raises(ConfigError):
        setup.scheme(tolerance=tolerance)


# --- what is particular


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("standard-webhooks", "whsec_" + b64(bytes(23))),
        ("standard-webhooks", "whsec_" + b64(bytes(65))),
        ("standard-webhooks", "whsec_!!!"),
        ("standard-webhooks", "whsec_" + b64(bytes(24)).replace("A", "-")),
        ("standard-webhooks", "whpk_" + b64(bytes(31))),
        ("standard-webhooks", "whsk_" + b64(bytes(33))),
        ("standard-webhooks", "whsk_" + b64(bytes(64))),
        ("standard-webhooks", "whpk_" + b64(bytes(32))),
        ("standard-webhooks", "whsec_" + b64(bytes(32))),
        ("svix", "whsec_" + b64(bytes(32))),
        ("github", "\0"),
        ("twilio", "\0\0"),
        ("adyen-platform", "XYZ"),
        ("adyen-platform", "AB C"),
        ("adyen-platform", "AB" * 31),
        ("adyen-platform", "00" * 32),
        ("sendgrid", "bm90IGEga2V5"),
        ("sendgrid", b64(UNKNOWN_CURVE)),
        ("discord", "00"),
        ("discord", "AB" * 32),
        ("basic", "no-colon"),
        ("bearer", "two words"),
    ],
)
def test_an_undecodable_or_short_secret_is_an_error(name: str, secret: str) -> None:
    with pytest.raises(ConfigError):
        SCHEMES[name](secrets=[secret])


@pytest.mark.parametrize("y", sorted({*SMALL_ORDER, PRIME, PRIME + 1}))
@pytest.mark.parametrize("sign", [0, SIGN_BIT])
def test_a_key_that_anybody_can_sign_for_is_an_error(y: int, sign: int) -> None:
    raw = (y | sign).to_bytes(32, "little")
    for name, secret in (("discord", raw.hex()), ("standard-webhooks", "whpk_" + b64(raw))):
        with pytest.raises(ConfigError):
            SCHEMES[name](secrets=[secret])


@pytest.mark.parametrize("y", [2, 7, PRIME + 3, SIGN_BIT - 1])
@pytest.mark.parametrize("sign", [0, SIGN_BIT])
def test_a_key_that_is_not_a_point_is_an_error_at_construction(y: int, sign: int) -> None:
    """Of 2 and 7 no x comes; the others encode points that have an encoding of their own."""
    with pytest.raises(ConfigError, match="a point on the curve"):
        SCHEMES["discord"](secrets=[(y | sign).to_bytes(32, "little").hex()])


@given(seed=st.binary(min_size=32, max_size=32))
@examples(50)
def test_every_private_key_has_a_public_one(seed: bytes) -> None:
    SCHEMES["discord"](secrets=[Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex()])


@pytest.mark.parametrize(
    ("name", "private_key"),
    [
        ("discord", "00"),
        ("discord", bytes(range(1, 33)).hex()),
        ("sendgrid", "junk"),
        ("sendgrid", b64(EC_PUBLIC)),
        ("sendgrid", b64(OTHER_EC)),
    ],
)
def test_a_private_key_of_another_pair_is_an_error(name: str, private_key: str) -> None:
    with pytest.raises(ConfigError):
        SETUPS[name].scheme(private_key=private_key)


@pytest.mark.parametrize(
    "options",
    [
        {"header": "X-Sig", "algorithm": "md5"},
        {"header": "X-Sig", "encoding": "base32"},
        {"header": ""},
        {"header": "X Sig"},
        {"header": "X-Sig", "signed": "nothing"},
        {"header": "X-Sig", "signed": "{body}{unknown}"},
        {"header": "X-Sig", "signed": "{timestamp}{body}"},
        {"header": "X-Sig", "timestamp_header": "X-Time"},
        {"header": "X-Sig", "signed": "{body}.{timestamp}", "timestamp_header": "x-sig"},
        {"header": "X-Sig", "signed": "{body}\udcff"},
        {},
        *({"header": "X-Sig", option: 5} for option in ("header", "algorithm", "prefix", "signed", "timestamp_header")),
        {"header": "X-Sig", "encoding": ["hex"]},
    ],
)
def test_a_senseless_generic_hmac_is_an_error_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SCHEMES["hmac"](secrets=["secret"], **options)


STAMPED = {"header": "X-Sig", "timestamp_header": "X-Time"}


@pytest.mark.parametrize("template", ["{body}{timestamp}", "{body}{url}{timestamp}", "{body}0{timestamp}"])
def test_zeros_at_a_bodys_end_are_not_taken_for_the_timestamps(template: str) -> None:
    setup = Setup("hmac", options={**STAMPED, "signed": template}, url="0", body=b"amount=1000")
    request = setup.signed()
    setup.scheme().verify(request, NOW)
    [(name, stamp), signature] = request.headers
    moved = replace(request, headers=[(name, f"00{stamp}"), signature], body=request.body[:-2])
    assert reason(setup, moved) == "malformed-timestamp"


@pytest.mark.parametrize("template", ["{body}.{timestamp}", "{timestamp}{body}"])
def test_a_timestamp_may_begin_with_zeros(template: str) -> None:
    setup = Setup("hmac", options={**STAMPED, "signed": template})
    signed = template.replace("{timestamp}", f"00{NOW}").encode().replace(b"{body}", setup.body)
    mac = hmac.digest(setup.secrets[0].encode(), signed, "sha256").hex()
    setup.scheme().verify(SignedRequest("POST", URL, [("X-Time", f"00{NOW}"), ("X-Sig", mac)], setup.body), NOW)


def changed_header(setup: Setup, change: Callable[[str], str]) -> SignedRequest:
    request = setup.signed()
    name, value = request.headers[-1]
    return replace(request, headers=[*request.headers[:-1], (name, change(value))])


@pytest.mark.parametrize("name", ["standard-webhooks", "svix"])
def test_malformed_signatures_are_skipped_up_to_the_cap(name: str) -> None:
    setup = SETUPS[name]
    setup.scheme().verify(changed_header(setup, lambda good: f"v1 v2,x , v1,!! v1,AAAA {good}"), NOW)
    assert reason(setup, changed_header(setup, lambda good: "v1,AAAA " * 100 + good)) == "mismatch"


@pytest.mark.parametrize("name", ["standard-webhooks", "svix"])
@pytest.mark.parametrize("delivery_id", ["", "a b", "a\n", "é", "x" * 257, "a.1"])
def test_an_id_is_capped_and_printable(name: str, delivery_id: str) -> None:
    setup = SETUPS[name]
    request = setup.signed()
    headers = [(key, delivery_id if key.endswith("-id") else value) for key, value in request.headers]
    assert reason(setup, replace(request, headers=headers)) == "malformed-id"
    with pytest.raises(ConfigError, match="malformed-id"):
        setup.scheme().sign(b"", url=URL, now=NOW, delivery_id=delivery_id)


def test_what_was_signed_cannot_be_cut_in_another_place() -> None:
    """`id.timestamp.body` of an old request, read as one with a later timestamp."""
    setup = SETUPS["standard-webhooks"]
    old, later = NOW - 5000, str(NOW)
    request = setup.signed(later.encode() + b".5", now=old)
    shifted = [
        (name, {"webhook-id": f"msg_1.{old}", "webhook-timestamp": later}.get(name, value))
        for name, value in request.headers
    ]
    assert reason(setup, replace(request, headers=shifted, body=b"5")) == "malformed-id"


def test_a_key_verifies_signatures_of_its_own_version_only() -> None:
    setup = SETUPS["standard-webhooks"]
    assert reason(setup, changed_header(setup, lambda good: good.replace("v1,", "v1a,"))) == "mismatch"
    ed = SETUPS["standard-webhooks v1a"]
    assert reason(ed, changed_header(ed, lambda good: good.replace("v1a,", "v1,"))) == "mismatch"


def test_a_public_key_verifies_and_cannot_sign() -> None:
    public = "whpk_" + b64(ED.public_key().public_bytes_raw())
    scheme = SCHEMES["standard-webhooks"](secrets=[public])
    scheme.verify(SETUPS["standard-webhooks v1a"].signed(), NOW)
    for name, secret in (("standard-webhooks", public), ("discord", SETUPS["discord"].secrets[0])):
        with pytest.raises(ConfigError):
            SCHEMES[name](secrets=[secret]).sign(b"", url=URL, now=NOW, delivery_id="m")


@pytest.mark.parametrize(("name", "key"), [("stripe", "v1"), ("paddle", "h1"), ("persona", "v1")])
def test_several_signatures_in_one_header_are_for_rotation(name: str, key: str) -> None:
    setup, separator = SETUPS[name], ";" if name == "paddle" else ","
    setup.scheme().verify(changed_header(setup, lambda good: f"{good}{separator}{key}=dummy"), NOW)
    setup.scheme().verify(changed_header(setup, lambda good: good.replace(key, f"{key}=dummy{separator}{key}")), NOW)


def test_persona_sends_a_pair_for_each_secret() -> None:
    setup = SETUPS["persona"]
    setup.scheme().verify(changed_header(setup, lambda good: f"v1=no-time t=1,v1=dummy {good}"), NOW)


@pytest.mark.parametrize("number", [2, 33, 100])
def test_docusign_sends_a_header_for_each_key(number: int) -> None:
    setup = SETUPS["docusign"]
    [(_, good)] = setup.signed().headers
    numbered = [("X-DocuSign-Signature-1", "dummy"), (f"x-docusign-signature-{number}", good)]
    setup.scheme().verify(replace(setup.signed(), headers=numbered), NOW)
    assert reason(setup, replace(setup.signed(), headers=[*numbered, numbered[1]])) == "repeated-header"
    assert reason(setup, replace(setup.signed(), headers=[("X-DocuSign-Signature-101", good)])) == "missing-header"


def test_docusigns_header_may_name_its_one_method() -> None:
    request = SETUPS["docusign"].signed()
    named = ("x-authorization-digest", "HMACSHA256")

    def with_headers(*headers: tuple[str, str]) -> SignedRequest:
        return replace(request, headers=[*request.headers, *headers])

    SETUPS["docusign"].scheme().verify(with_headers(named), NOW)
    assert reason(SETUPS["docusign"], with_headers(named, named)) == "repeated-header"
    assert reason(SETUPS["docusign"], with_headers((named[0], "HMACSHA1"))) == "malformed-header"


def test_no_letter_beyond_ascii_is_taken_for_one_within() -> None:
    """The sign of the kelvin is a K to whoever folds case as Unicode does."""
    setup = SETUPS["standard-webhooks"]
    headers = [(name.replace("k", "\u212a"), value) for name, value in setup.signed().headers]
    assert reason(setup, replace(setup.signed(), headers=headers)) == "missing-header"


def test_a_persona_header_without_any_timestamp_is_malformed() -> None:
    setup = SETUPS["persona"]
    assert reason(setup, changed_header(setup, lambda good: "v1=abc v1=def")) == "malformed-header"


@pytest.mark.parametrize("port", [443, 8443])
def test_twilio_signs_the_url_with_or_without_its_port(port: int) -> None:
    setup = SETUPS["twilio form"]
    with_port = URL.replace("example.com/", f"example.com:{port}/")
    setup.scheme().verify(replace(setup.signed(), url=with_port), NOW)
    if port == 443:
        setup.scheme().verify(replace(replace(setup, url=with_port).signed(), url=URL), NOW)


@pytest.mark.parametrize("url", [URL.replace("https", "http"), URL.replace(".com/", ".org/"), URL + "&b=2"])
def test_twilio_refuses_any_other_url(url: str) -> None:
    setup = SETUPS["twilio form"]
    assert reason(setup, replace(setup.signed(), url=url)) == "mismatch"


def test_twilio_refuses_a_port_that_was_not_signed() -> None:
    setup = replace(SETUPS["twilio form"], url=URL.replace(".com/", ".com:8443/"))
    assert reason(setup, replace(setup.signed(), url=URL)) == "mismatch"


def test_no_form_is_decoded_that_twilio_would_not_send() -> None:
    setup = SETUPS["twilio form"]
    for body in (b"a=" + b"%41" * 50_000, b"To=%2b1", b"To=%", b"To=%2", b"To=%zz"):
        assert reason(setup, replace(setup.signed(), body=body)) == "malformed-body"


@pytest.mark.parametrize("after", ["&", "&x=", "#"])
def test_twilios_form_cannot_be_moved_into_the_url(after: str) -> None:
    """Of the moved form, somebody chose the text, which brings along the digest of a body of theirs."""
    setup, body = SETUPS["twilio form"], b"status=done"
    text = f"hi&bodySHA256={hashlib.sha256(body).hexdigest()}{after}"
    request = setup.signed(urlencode({"Body": text, "From": "+1"}).encode())
    setup.scheme().verify(request, NOW)
    moved = replace(request, url=f"{URL}Body{text}From+1", body=body)
    assert reason(setup, moved) in {"malformed-url", "body-mismatch"}


def test_twilio_signs_no_url_that_it_would_refuse() -> None:
    for url in ("/relative", "https://[x/", f"{URL}&bodySHA256=", f"{SHA_URL}&b=2", f"{SHA_URL}&bodySHA256=00"):
        with pytest.raises(ConfigError):
            SETUPS["twilio json"].scheme().sign(b"{}", url=url, now=NOW, delivery_id="")


def test_twilio_signs_nothing_that_it_would_not_cover() -> None:
    for body in (b'{"a": 1}', b"To=%2b1", b"a=" + b"b" * 200_000):
        with pytest.raises(ConfigError):
            SETUPS["twilio form"].scheme().sign(body, url=URL, now=NOW, delivery_id="")


@pytest.mark.parametrize("name", ["square", "twilio form", "hmac timed"])
def test_a_scheme_that_signs_the_url_needs_one(name: str) -> None:
    setup = SETUPS[name]
    assert reason(setup, replace(setup.signed(), url="")) == "malformed-url"
    with pytest.raises(ConfigError):
        setup.scheme().sign(b"", url="", now=NOW, delivery_id="")


def test_twilio_refuses_a_body_that_nothing_covers() -> None:
    setup = SETUPS["twilio form"]
    request = setup.signed(b"")
    json_body = replace(request, headers=[*request.headers, ("Content-Type", "application/json")], body=b"{}")
    assert reason(setup, json_body) == "malformed-body"
    json_setup = SETUPS["twilio json"]
    assert reason(json_setup, replace(json_setup.signed(), body=b"{ }")) == "body-mismatch"
