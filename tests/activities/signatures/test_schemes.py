"""What holds for every signature scheme: what is signed verifies, and anything else is refused."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.environment import Environment
from activities.partners.partner import signature
from activities.signatures import SCHEMES, SignatureError, SignedRequest
from tests.parts.examples import examples
from tests.parts.setups import (
    NOW,
    SETUPS,
    URL,
    Setup,
    every,
    flip,
    headed,
    reason,
    timed,
)

covering = pytest.mark.parametrize(
    "setup",
    [s for s in SETUPS.values() if s.scheme().covers_body],
    ids=[n for n, s in SETUPS.items() if s.scheme().covers_body],
)


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
