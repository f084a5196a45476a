"""Key sets at a URL: fetched in the background, bounded, and never taken for a reason to accept or refuse a request."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from activities.signatures import SCHEMES, ConfigError, KeyUnavailable, Scheme, SignatureError, SignedRequest, Verified
from activities.signatures.diagnosis import diagnose
from activities.signatures.fetched import FETCH_PAUSE, LONGEST_KEPT, MOST_BYTES, REFRESH_AGE, RETRY_PAUSE
from activities.signatures.jose_keys import MOST_KEYS, read_key_set
from activities.signatures.key_sources import MOST_UNKNOWN_IDS, PublishedKeys
from tests.parts.clocks import Clock
from tests.parts.key_servers import KeyServer, key_server
from tests.parts.setups import NOW

PATH = "/jwks.json"
OLD, NEW = (ec.derive_private_key(number, ec.SECP256R1()) for number in (1111, 2222))
ES256 = jwt.get_algorithm_by_name("ES256")


def jwk(key: ec.EllipticCurvePrivateKey, kid: str, **changes: Any) -> dict[str, Any]:
    return {**ES256.to_jwk(key.public_key(), as_dict=True), "kid": kid, **changes}


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as served:
        served.documents[PATH] = key_set(jwk(OLD, "old"))
        yield served


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(server: KeyServer, clock: Clock) -> PublishedKeys:
    return PublishedKeys(server.url + PATH, "ES256", clock)


def scheme(server: KeyServer, **options: Any) -> Scheme:
    return SCHEMES["jwt"]([server.url + PATH], **{"algorithm": "ES256", "header": "X-Token", **options})


def token(key: ec.EllipticCurvePrivateKey, kid: str | None) -> SignedRequest:
    signed = jwt.encode({"iat": NOW}, key, algorithm="ES256", headers={"kid": kid} if kid else {})
    return SignedRequest("POST", "", [("X-Token", signed)], b"")


def found(keys: PublishedKeys, kid: str | None) -> int:
    """How many keys it has for the id, when the fetch that it begins has ended."""
    try:
        return len(keys.find(kid))
    finally:
        keys.prepare(wait=30)


def test_until_the_set_is_there_nothing_is_proven_or_refused(server: KeyServer) -> None:
    server.holding.clear()
    made = scheme(server)
    for key in (OLD, NEW):
        with pytest.raises(KeyUnavailable, match="no-key"):
            made.verify(token(key, "old"), NOW)
    assert diagnose(made, [""], token(OLD, "old"), NOW).failed == "key"
    server.holding.set()
    made.prepare(wait=30)
    assert made.verify(token(OLD, "old"), NOW) == Verified(0, NOW)
    with pytest.raises(SignatureError, match="mismatch"):
        made.verify(token(NEW, "old"), NOW)
    assert server.fetched[PATH] == 1


def test_a_pinned_key_proves_while_the_set_is_away(server: KeyServer) -> None:
    server.status = 503
    pinned = json.dumps(jwk(NEW, "new"))
    options: dict[str, Any] = {"algorithm": "ES256", "header": "X-Token"}
    made = SCHEMES["jwt"]([server.url + PATH, pinned], **options)
    assert made.verify(token(NEW, "new"), NOW) == Verified(1, NOW)
    with pytest.raises(KeyUnavailable):
        made.verify(token(OLD, "new"), NOW)
    made.prepare(wait=30)


def test_a_new_key_is_fetched_when_a_token_names_it(server: KeyServer, clock: Clock, keys: PublishedKeys) -> None:
    keys.prepare(wait=30)
    clock.now += FETCH_PAUSE
    server.documents[PATH] = key_set(jwk(OLD, "old"), jwk(NEW, "new"))
    with pytest.raises(KeyUnavailable):
        found(keys, "new")
    assert found(keys, "new") == 1
    server.documents[PATH] = key_set(jwk(NEW, "new"))
    clock.now += REFRESH_AGE
    assert found(keys, "old") == 1, "while the set is fetched again"
    clock.now += 1
    with pytest.raises(KeyUnavailable):
        found(keys, "old")


def test_unknown_key_ids_ask_at_most_once_a_minute(server: KeyServer, clock: Clock, keys: PublishedKeys) -> None:
    keys.prepare(wait=30)
    for second in range(5, 125, 5):
        clock.now += 5
        for number in range(3):
            with contextlib.suppress(KeyUnavailable):
                found(keys, f"{second}-{number}")
    assert server.fetched[PATH] == 3


def test_only_so_many_unknown_key_ids_are_remembered(keys: PublishedKeys) -> None:
    keys.prepare(wait=30)
    for number in range(3 * MOST_UNKNOWN_IDS):
        with contextlib.suppress(KeyUnavailable):
            keys.find(str(number))
        assert len(keys._unknown) <= MOST_UNKNOWN_IDS


def test_a_set_fetched_later_shows_that_a_key_id_is_wrong(server: KeyServer, clock: Clock, keys: PublishedKeys) -> None:
    keys.prepare(wait=30)
    clock.now += FETCH_PAUSE
    with pytest.raises(KeyUnavailable):
        found(keys, "forged")
    clock.now += 1
    assert found(keys, "forged") == 0
    clock.now += FETCH_PAUSE
    with pytest.raises(KeyUnavailable):
        found(keys, "forged")
    assert server.fetched[PATH] == 3


def test_a_token_without_a_key_id_needs_a_set_of_one(server: KeyServer, clock: Clock, keys: PublishedKeys) -> None:
    keys.prepare(wait=30)
    assert found(keys, None) == 1
    server.documents[PATH] = key_set(jwk(OLD, "old"), jwk(NEW, "new"))
    clock.now += REFRESH_AGE
    keys.prepare(wait=30)
    assert found(keys, None) == 0


def test_a_set_outlives_a_failing_provider_for_a_day(server: KeyServer, clock: Clock, keys: PublishedKeys) -> None:
    keys.prepare(wait=30)
    server.status = 500
    for _ in range(2):
        clock.now += LONGEST_KEPT / 2 - 1
        assert found(keys, "old") == 1
    clock.now += 2
    with pytest.raises(KeyUnavailable):
        found(keys, "old")
    server.status = 200
    clock.now += FETCH_PAUSE
    keys.prepare(wait=30)
    assert found(keys, "old") == 1


def test_without_a_set_a_fetch_is_tried_again_soon(server: KeyServer, clock: Clock, keys: PublishedKeys) -> None:
    server.status = 503
    for _ in range(5):
        with pytest.raises(KeyUnavailable):
            found(keys, "old")
    assert server.fetched[PATH] == 1
    server.status = 200
    clock.now += RETRY_PAUSE
    keys.prepare(wait=30)
    assert found(keys, "old") == 1


HUGE = "f" * 200_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": []}',
        b"[" * 100_000,
        b'{"keys": [], "keys": []}',
        b'{"keys": [' + b"1" * 5000 + b"]}",
        key_set(*[jwk(OLD, str(n)) for n in range(MOST_KEYS + 1)]),
        key_set(jwk(OLD, "a", use="enc"), jwk(OLD, "b", alg="RS256"), jwk(OLD, "c", key_ops=["sign"])),
        key_set(jwk(OLD, "a", key_ops="verify"), jwk(OLD, "a", kty="oct", k="AAAA"), jwk(OLD, "a", crv="P-384")),
        key_set({"kty": "RSA", "n": HUGE, "e": "AQAB"}, {"kty": "RSA", "n": "AQAB", "e": HUGE}),
        key_set(jwk(OLD, "a", d="AAAA"), jwk(OLD, "a", x=5), jwk(OLD, "a", y=None), jwk(OLD, "k" * 3000)),
        key_set(jwk(OLD, "a", x="AAAA"), jwk(OLD, "a", x=HUGE), None, 5, "key", [], {}),
        key_set({"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}, {**jwk(OLD, "a"), "kid": None}),
    ],
    ids=range(15),
)
def test_a_set_without_a_usable_key_is_no_set(body: bytes) -> None:
    with pytest.raises(ConfigError):
        read_key_set(body, "ES256")


def rsa_jwk(bits: int, exponent: int) -> dict[str, str]:
    def number(value: int) -> str:
        return jwt.utils.to_base64url_uint(value).decode()

    return {"kty": "RSA", "n": number((1 << bits) - 1), "e": number(exponent)}


@pytest.mark.parametrize(("bits", "exponent"), [(2048, 1), (2048, 2), (2048, 2**33 + 1), (1024, 65537), (8193, 65537)])
def test_an_rsa_key_of_odd_size_is_not_usable(bits: int, exponent: int) -> None:
    with pytest.raises(ConfigError):
        read_key_set(key_set(rsa_jwk(bits, exponent)), "RS256")


def test_unusable_keys_are_skipped_in_a_usable_set() -> None:
    usable = read_key_set(key_set(5, jwk(NEW, "new", crv="P-999"), jwk(OLD, "old")), "ES256")
    assert [key.kid for key in usable.keys] == ["old"]


def test_a_redirect_is_not_followed(server: KeyServer, keys: PublishedKeys) -> None:
    server.documents["/elsewhere"] = server.documents[PATH]
    server.status, server.headers = 302, {"Location": "/elsewhere"}
    with pytest.raises(KeyUnavailable):
        found(keys, "old")
    assert server.fetched == {PATH: 1}


def test_a_set_that_is_too_large_is_not_read(server: KeyServer, keys: PublishedKeys) -> None:
    server.documents[PATH] += b" " * MOST_BYTES
    with pytest.raises(KeyUnavailable):
        found(keys, "old")
    with pytest.raises(KeyUnavailable):
        found(keys, "old")


def test_a_fetch_ends_in_time(
    server: KeyServer, keys: PublishedKeys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("activities.signatures.fetched.FETCH_TIMEOUT", 0.1)
    server.holding.clear()
    with pytest.raises(KeyUnavailable):
        found(keys, "old")
    assert not keys._fetched.is_fetching
    # By the bound on the whole fetch; httpx bounds only the pause between two bytes.
    assert [vars(record)["why"] for record in caplog.records] == ["TimeoutError"]
