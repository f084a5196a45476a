"""Tokens of version two: short, with one spelling each, and never taken for a token of another version or purpose."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode

from activities.callback_urls import (
    CLOCK_GRACE,
    LONGEST_TOKEN,
    MAC_BYTES,
    SALT,
    SHORT_HEAD,
    SHORT_PREFIX,
    SHORT_SALT,
    BadToken,
    CallbackURLs,
    Claims,
    ExpiredToken,
    TokenError,
    _short_signer,
    _short_token,
    stated_claims,
    version_of,
)
from tests.support import KEY
from workflows.contract import StageCall

OTHER_KEY = "another-key-for-tests-0123456789-abc"
NOW = 1_800_000_000
CHAIN = "01a20379-1751-78ce-ac76-c1d64654450f"
CLAIMS = Claims("onboarding-1", CHAIN, 2, 1, "bank", NOW, NOW + 3600)


def urls(*keys: str, now: float = NOW) -> CallbackURLs:
    return CallbackURLs("https://hooks.example.com", keys or (KEY,), now=lambda: now)


def token(claims: Claims = CLAIMS, *keys: str, version: int = 2) -> str:
    return urls(*keys).issue(claims, version).rpartition("/")[2]


@pytest.mark.parametrize(("workflow_id", "length"), [("x" * 6, 79), ("x" * 25, 105), (f"onboarding-{CHAIN}", 134)])
def test_a_token_has_the_promised_length(workflow_id: str, length: int) -> None:
    claims = replace(CLAIMS, workflow_id=workflow_id, partner="an-eight")
    assert len(token(claims)) == length
    assert urls().redeem(token(claims)) == claims
    assert len(token(claims, version=1)) > length


def test_the_call_says_which_version_its_url_has() -> None:
    call = StageCall("onboarding-1", CHAIN, 2, "account-check", "bank", 1, NOW, NOW + 3600)
    assert urls().of(call) == urls().issue(CLAIMS, 1)
    assert urls().of(replace(call, token_version=2)) == urls().issue(CLAIMS, 2)
    with pytest.raises(ValueError, match="unknown token version 3: use one of 1, 2"):
        urls().of(replace(call, token_version=3))


def test_every_key_verifies_and_the_first_one_signs() -> None:
    assert urls(OTHER_KEY, KEY).redeem(token()) == CLAIMS
    assert token(CLAIMS, OTHER_KEY, KEY) == token(CLAIMS, OTHER_KEY) != token()
    with pytest.raises(BadToken):
        urls(OTHER_KEY).redeem(token())


def test_an_expired_token_tells_its_claims() -> None:
    last = CLAIMS.expires_at + CLOCK_GRACE
    assert urls(now=last).redeem(token()) == CLAIMS
    with pytest.raises(ExpiredToken) as raised:
        urls(now=last + 1).redeem(token())
    assert raised.value.claims == CLAIMS


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": "0190-chain"},
        {"chain_id": CHAIN.upper()},
        {"chain_id": CHAIN.replace("-", "")},
        {"chain_id": f"{{{CHAIN}}}"},
        {"stage": 256},
        {"attempt": 256},
        {"issued_at": 2**32, "expires_at": 2**32 + 1},
        {"expires_at": NOW - 1},
        {"partner": "Bänk"},
        {"partner": "x" * 256},
        {"partner": ""},
        {"workflow_id": "x" * LONGEST_TOKEN},
    ],
    ids=repr,
)
def test_claims_that_do_not_fit_get_a_token_of_version_one(change: dict[str, str | int]) -> None:
    claims = replace(CLAIMS, **change)  # type: ignore[arg-type]
    text = token(claims)
    assert version_of(text) == 1
    assert text == token(claims, version=1)
    assert urls(now=0).redeem(text) == claims


NUMBERS = st.integers(1, 2**33)


@given(
    st.builds(
        Claims,
        workflow_id=st.text(max_size=200),
        chain_id=st.one_of(st.uuids().map(str), st.text(max_size=40)),
        stage=st.integers(1, 300),
        attempt=st.integers(1, 300),
        partner=st.one_of(st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True), st.text(max_size=40)),
        issued_at=NUMBERS,
        expires_at=NUMBERS,
    )
)
def test_whatever_is_issued_is_redeemed_and_stated(claims: Claims) -> None:
    text = token(claims)
    assert urls(now=0).redeem(text) == claims
    assert stated_claims(text) == claims


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: text + "=",
        lambda text: text + "A",
        lambda text: text + "AAAA",
        lambda text: text + ".",
        lambda text: "." + text,
        lambda text: " " + text,
        lambda text: text + "\n",
        lambda text: text + "/",
        lambda text: text[:-1],
        lambda text: text[:-4],
        lambda text: text[1:],
        lambda text: text[:62],
        lambda text: text.upper(),
        lambda text: text.lower(),
        lambda text: text.removeprefix(SHORT_PREFIX),
        lambda text: SHORT_PREFIX + text,
        lambda text: text.replace(SHORT_PREFIX, "sh3"),
        lambda text: text.replace(SHORT_PREFIX, "%73h2"),
        lambda text: text.replace("-", "+").replace("_", "/"),
        lambda text: text * 100,
        lambda text: SHORT_PREFIX + "A" * 10_000_000,
        lambda text: SHORT_PREFIX,
    ],
)
def test_a_token_has_one_spelling(respell: object) -> None:
    assert callable(respell)
    # This id makes `-` and `_` appear in the text, so that every respelling differs from it.
    claims = replace(CLAIMS, workflow_id="ab~~~~~~ab??????" * 2)
    assert set("-_") <= set(token(claims))
    with pytest.raises(BadToken):
        urls().redeem(respell(token(claims)))


@given(place=st.integers(0, len(token()) - 1), letter=st.characters())
def test_any_change_of_any_character_is_refused(place: int, letter: str) -> None:
    text = token()
    changed = text[:place] + letter + text[place + 1 :]
    if changed == text:
        assert urls().redeem(changed) == CLAIMS
    else:
        with pytest.raises(BadToken):
            urls().redeem(changed)


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(text=st.text(ALPHABET, min_size=50, max_size=300))
def test_a_made_up_token_raises_nothing_but_token_errors(text: str) -> None:
    with pytest.raises(TokenError):
        urls().redeem(SHORT_PREFIX + text)
    stated_claims(SHORT_PREFIX + text)


@given(wide=st.integers(5, 64))
def test_unused_bits_of_the_last_character_are_refused(wide: int) -> None:
    """base64 ignores them, so that one text of 4 bytes more or less has up to 16 spellings."""
    text = token(replace(CLAIMS, workflow_id="x" * wide))
    place = ALPHABET.index(text[-1])
    spare = {0: 0, 1: 0, 2: 4, 3: 2}[(len(text) - len(SHORT_PREFIX)) % 4]
    for bits in range(1, 2**spare):
        with pytest.raises(BadToken):
            urls().redeem(text[:-1] + ALPHABET[place ^ bits])


def _signed(payload: bytes, *, salt: bytes = SHORT_SALT, cut: int = MAC_BYTES) -> str:
    """A short token with a valid HMAC of this payload under this salt."""
    signer = Signer(KEY, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
    return SHORT_PREFIX + base64_encode(payload + base64_decode(signer.get_signature(payload))[:cut]).decode()


def _payload(claims: Claims = CLAIMS) -> bytes:
    return base64_decode(token(claims).removeprefix(SHORT_PREFIX))[:-MAC_BYTES]


def test_the_signature_has_128_bits_and_a_salt_of_its_own() -> None:
    assert _signed(_payload()) == token()
    for other in (_signed(_payload(), salt=SALT), _signed(_payload(), cut=15), _signed(_payload(), cut=32)):
        with pytest.raises(BadToken):
            urls().redeem(other)


def test_no_token_passes_as_one_of_the_other_version() -> None:
    one, two = token(version=1), token()
    payload, _, signature = one.rpartition(".")
    serializer = URLSafeSerializer(
        KEY, salt=SHORT_SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )
    forged = [
        SHORT_PREFIX + payload + signature,
        SHORT_PREFIX + one,
        f"{two[:-22]}.{two[-22:]}",
        f"{payload}.{two[-22:]}",
        _signed(base64_decode(payload.strip(".")), salt=SALT),
        str(serializer.dumps([1, *vars(CLAIMS).values()])),
        Signer(KEY, salt=SALT, key_derivation="hmac", digest_method=hashlib.sha256).sign(_payload()).decode("latin-1"),
    ]
    for text in forged:
        with pytest.raises(BadToken):
            urls().redeem(text)
    assert urls().redeem(one) == urls().redeem(two) == CLAIMS


HEAD = (2, 1, NOW, NOW + 1, UUID(CHAIN).bytes, 4)


@pytest.mark.parametrize(
    "payload",
    [
        b"x" * 60,
        SHORT_HEAD.pack(0, *HEAD[1:]) + b"bankrun-with-a-long-id",
        SHORT_HEAD.pack(2, 0, *HEAD[2:]) + b"bankrun-with-a-long-id",
        SHORT_HEAD.pack(2, 1, 0, *HEAD[3:]) + b"bankrun-with-a-long-id",
        SHORT_HEAD.pack(2, 1, NOW, NOW - 1, *HEAD[4:]) + b"bankrun-with-a-long-id",
        SHORT_HEAD.pack(*HEAD[:5], 0) + b"bankrun-with-a-long-id",
        SHORT_HEAD.pack(*HEAD[:5], 255) + b"bankrun-with-a-long-id",
        SHORT_HEAD.pack(*HEAD) + b"BANKrun-with-a-long-id",
        SHORT_HEAD.pack(*HEAD) + b"bank" + b"\xff" * 20,
        SHORT_HEAD.pack(*HEAD) + b"bank" + b"\xed\xa0\xbd" * 8,
    ],
)
def test_a_signed_payload_that_issue_never_makes_is_refused(payload: bytes) -> None:
    text = _short_token(_short_signer(KEY), payload)
    with pytest.raises(BadToken):
        urls().redeem(text)
    assert stated_claims(text) is None


def test_the_idempotency_key_does_not_depend_on_the_version() -> None:
    redeemed = {urls().redeem(token(version=version)).idempotency_key for version in (1, 2)}
    assert redeemed == {CLAIMS.idempotency_key}
