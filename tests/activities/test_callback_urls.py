"""Tokens: issued and redeemed, one spelling each, for one purpose, in time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from activities.callback_urls import (
    CALLBACKS_PATH,
    CLOCK_GRACE,
    SALT,
    BadToken,
    CallbackURLs,
    Claims,
    ExpiredToken,
    TokenError,
    fingerprint,
)
from tests.support import KEY
from workflows.contract import StageCall

OTHER_KEY = "another-key-for-tests-0123456789-abc"
NOW = 1_800_000_000
CLAIMS = Claims("onboarding-1", "0190-chain", 2, 1, "bank", NOW, NOW + 3600)
SERIALIZER_OPTIONS = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


def urls(*keys: str, now: float = NOW) -> CallbackURLs:
    return CallbackURLs("https://hooks.example.com", keys or (KEY,), now=lambda: now)


def token(claims: Claims = CLAIMS, *keys: str) -> str:
    return urls(*keys).issue(claims).rpartition("/")[2]


def test_an_issued_url_redeems_to_its_claims() -> None:
    url = urls().issue(CLAIMS)
    assert url.startswith("https://hooks.example.com/callbacks/")
    assert urls().redeem(url.rpartition("/")[2]) == CLAIMS


def test_the_same_claims_give_the_same_bytes() -> None:
    assert token() == token()
    assert CLAIMS.idempotency_key == replace(CLAIMS).idempotency_key


@pytest.mark.parametrize(
    "change",
    [
        {"workflow_id": "b"},
        {"chain_id": "b"},
        {"stage": 3},
        {"attempt": 2},
        {"partner": "x"},
        {"issued_at": NOW + 1},
        {"expires_at": NOW + 3601},
    ],
)
def test_other_claims_give_another_token_and_idempotency_key(change: dict[str, str | int]) -> None:
    other = replace(CLAIMS, **change)  # type: ignore[arg-type]
    assert token(other) != token()
    assert other.idempotency_key != CLAIMS.idempotency_key


def test_claims_hold_what_the_call_says() -> None:
    call = StageCall("onboarding-1", "0190-chain", 2, "account-check", "bank", 1, NOW, NOW + 3600)
    assert Claims.of(call) == CLAIMS


def test_every_key_verifies_and_the_first_one_signs() -> None:
    assert urls(OTHER_KEY, KEY).redeem(token()) == CLAIMS
    assert token(CLAIMS, OTHER_KEY, KEY) == token(CLAIMS, OTHER_KEY) != token()
    with pytest.raises(BadToken):
        urls(OTHER_KEY).redeem(token())


def test_an_expired_token_is_not_a_bad_one_and_has_a_grace() -> None:
    last = CLAIMS.expires_at + CLOCK_GRACE
    assert urls(now=last).redeem(token()) == CLAIMS
    with pytest.raises(ExpiredToken) as raised:
        urls(now=last + 1).redeem(token())
    assert raised.value.claims == CLAIMS


@pytest.mark.parametrize("apart", [-600, 600])
def test_clocks_ten_minutes_apart_refuse_no_live_url(apart: int) -> None:
    """The stage may be open until the token expires, by the worker's clock; the receiver's is another one."""
    assert urls(now=CLAIMS.issued_at + apart).redeem(token()) == CLAIMS
    assert urls(now=CLAIMS.expires_at + apart).redeem(token()) == CLAIMS


def test_issued_at_is_never_compared_with_a_clock() -> None:
    assert urls(now=NOW - 3600).redeem(token()) == CLAIMS


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: text + "=",
        lambda text: text + ".",
        lambda text: "." + text,
        lambda text: " " + text,
        lambda text: text + "\n",
        lambda text: text + "/",
        lambda text: text.replace(".", "%2E"),
        lambda text: text.replace(".", ".."),
        lambda text: text + "é",
        lambda text: text.replace("-", "+").replace("_", "/") + "+",
        lambda text: text[:-1],
        lambda text: text[1:],
        lambda text: text.upper(),
        lambda text: text * 100,
        lambda text: "A" * 10_000_000,
        lambda text: "",
    ],
)
def test_a_token_has_one_spelling(respell: object) -> None:
    assert callable(respell)
    with pytest.raises(BadToken):
        urls().redeem(respell(token()))


@given(place=st.integers(0, len(token()) - 1), letter=st.characters())
def test_any_change_of_any_character_is_refused(place: int, letter: str) -> None:
    text = token()
    changed = text[:place] + letter + text[place + 1 :]
    if changed == text:
        assert urls().redeem(changed) == CLAIMS
    else:
        with pytest.raises(BadToken):
            urls().redeem(changed)


@given(text=st.text(max_size=300))
def test_redeeming_raises_nothing_but_token_errors(text: str) -> None:
    with pytest.raises(TokenError):
        urls().redeem(text)


def test_the_same_key_under_another_salt_is_another_purpose() -> None:
    fields = [1, "onboarding-1", "0190-chain", 2, 1, "bank", NOW, NOW + 3600]
    ours = URLSafeSerializer(KEY, salt=SALT, signer_kwargs=SERIALIZER_OPTIONS).dumps(fields)
    other = URLSafeSerializer(KEY, salt=b"another.purpose", signer_kwargs=SERIALIZER_OPTIONS).dumps(fields)
    assert urls().redeem(str(ours)) == CLAIMS
    with pytest.raises(BadToken):
        urls().redeem(str(other))


@pytest.mark.parametrize(
    "fields",
    [
        None,
        "text",
        {"v": 1},
        [],
        [2, "w", "c", 1, 1, "p", NOW, NOW],
        [1, "w", "c", True, 1, "p", NOW, NOW],
        [1, "w", "c", 0, 1, "p", NOW, NOW],
        [1, "w", "c", -1, 1, "p", NOW, NOW],
        [1, "w", "c", 1.0, 1, "p", NOW, NOW],
        [1, "w", "c", "1", 1, "p", NOW, NOW],
        [1, 5, "c", 1, 1, "p", NOW, NOW],
        [1, "w", "c", 1, 1, None, NOW, NOW],
        [1, "w", "c", 1, 1, "p", NOW, 10**400],
        [1, "w", "c", 1, 1, "p", NOW],
        [1, "w", "c", 1, 1, "p", NOW, NOW, 1],
    ],
)
def test_signed_claims_of_another_form_are_refused(fields: object) -> None:
    signed = URLSafeSerializer(KEY, salt=SALT, signer_kwargs=SERIALIZER_OPTIONS).dumps(fields)
    with pytest.raises(BadToken):
        urls().redeem(str(signed))


def test_a_signed_payload_that_cannot_be_unpacked_is_refused() -> None:
    signer = URLSafeSerializer(KEY, salt=SALT, signer_kwargs=SERIALIZER_OPTIONS).make_signer(SALT)
    for payload in (b".bm90LXpsaWI", b"bm90LWpzb24", b"A"):
        with pytest.raises(BadToken):
            urls().redeem(signer.sign(payload).decode())


@pytest.mark.parametrize("text", ["\ud83d", "a.\udc00", "", ".", "\0.\0"])
def test_a_text_that_no_token_can_be_is_refused(text: str) -> None:
    """A partner's file may hand over any text of a body, half a character included."""
    with pytest.raises(BadToken):
        urls().redeem(text)


@pytest.mark.parametrize("keys", [[], [""], [KEY, ""]])
def test_no_key_or_an_empty_one_is_an_error_at_once(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key"):
        CallbackURLs("https://hooks.example.com", keys)


def test_a_fingerprint_tells_keys_apart_and_gives_nothing_away() -> None:
    assert fingerprint(KEY) != fingerprint(OTHER_KEY)
    assert len(fingerprint(KEY)) == 8
    assert hashlib.sha256(KEY.encode()).hexdigest()[:8] != fingerprint(KEY)


def test_a_url_stays_short_enough_for_partners_columns() -> None:
    claims = replace(CLAIMS, workflow_id="onboarding-0123456789ab", chain_id="01a20379-1751-78ce-ac76-c1d64654450f")
    assert len(CALLBACKS_PATH + token(claims)) < 255
    assert json.dumps(KEY) not in token(claims)
