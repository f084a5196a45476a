"""Secrets, keys and options that a scheme refuses when it is made."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from activities.signatures import SCHEMES, ConfigError
from activities.signatures.ed25519 import PRIME, SIGN_BIT, SMALL_ORDER
from tests.parts.examples import examples
from tests.parts.setups import (
    EC_PUBLIC,
    OTHER_EC,
    SETUPS,
    Setup,
    b64,
    every,
)

UNKNOWN_CURVE = EC_PUBLIC.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d0301ff"))
"""The key with the name of another curve, which no library knows."""


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
