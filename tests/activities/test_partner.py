"""A partner's parts from the environment: every fault is reported, none becomes an unsigned partner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from activities.environment import Environment, SettingsError
from activities.handshakes import Handshake
from activities.partners import sandbox
from activities.partners.auth import HeaderKey
from activities.partners.partner import handshake, signature
from activities.signatures import ConfigError, SignedRequest


def test_secrets_are_listed_newest_first() -> None:
    environment = Environment({"SECRET": "the-new-secret, the-old-secret"})
    scheme = signature("github", environment, "SECRET", fix="from the dashboard")
    assert scheme is not None
    old = signature("github", Environment({"SECRET": "the-old-secret"}), "SECRET", fix="")
    assert old is not None
    headers = old.sign(b"{}", url="https://x", now=0, delivery_id="")
    assert scheme.verify(SignedRequest("POST", "https://x", headers, b"{}"), 0).key_index == 1


@pytest.mark.parametrize("variables", [{}, {"SECRET": ""}, {"SECRET": "whsec_AA=="}, {"SECRET": "!"}])
def test_a_missing_or_unusable_secret_is_a_fault(variables: dict[str, str]) -> None:
    environment = Environment(variables)
    assert signature("standard-webhooks", environment, "SECRET", fix="from the dashboard") is None
    with pytest.raises(SettingsError, match=r"SECRET .*from the dashboard"):
        environment.check()


@pytest.mark.parametrize(
    ("scheme", "options", "says"),
    [
        ("hmc", {}, "unknown scheme hmc: use one of standard-webhooks, "),
        ("public-key", {"key": "base64"}, "unknown option key of public-key: use algorithm, header, "),
        ("github", {"header": "X-Acme"}, "unknown option header of github: use tolerance"),
    ],
)
def test_an_unknown_scheme_or_option_is_a_fault(scheme: str, options: dict[str, str], says: str) -> None:
    environment = Environment({"ACME_SECRET": "shared-with-acme-0123456789"})
    assert signature(scheme, environment, "ACME_SECRET", fix="the secret", **options) is None
    [fault] = environment.faults
    assert says in fault.problem


def test_a_handshake_uses_the_newest_secret_and_needs_it() -> None:
    environment = Environment({"SECRET": "the-new-secret, the-old-secret"})
    for name in ("zoom", "x-crc"):
        assert handshake(name, environment, "SECRET", fix="from the dashboard") == Handshake(name, "the-new-secret")
    assert handshake("zoom", environment, "MISSING", fix="from the dashboard") is None
    with pytest.raises(SettingsError, match=r"MISSING .*from the dashboard"):
        environment.check()


@pytest.mark.parametrize("name", ["meta", "cloudevents"])
def test_a_comma_is_part_of_a_secret_that_signs_nothing(name: str) -> None:
    environment = Environment({"TOKEN": "one, and the same"})
    assert handshake(name, environment, "TOKEN", fix="") == Handshake(name, "one, and the same")
    assert handshake(name, environment, "MISSING", fix="") is None
    assert [fault.name for fault in environment.faults] == ["MISSING"]


def test_a_handshake_of_no_known_name_is_not_made() -> None:
    with pytest.raises(ConfigError, match="unknown handshake slakc"):
        handshake("slakc", Environment({"SECRET": "its-secret"}), "SECRET", fix="")


@pytest.mark.parametrize("content_type", ["Application/JSON", "application/json; charset=utf-8", "json", "/", "a/b/c"])
def test_a_partners_content_type_is_a_plain_media_type(content_type: str) -> None:
    with pytest.raises(ConfigError, match="content_type"):
        replace(sandbox.partner("bank", Environment({})), content_type=content_type)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_partners_rate_is_a_number_above_nothing(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate"):
        replace(sandbox.partner("bank", Environment({})), rate=rate)


@pytest.mark.parametrize("key", ["two\nlines", "k\u00e9y", "nul\0"])
def test_a_key_that_no_header_can_have_is_refused_at_start(key: str) -> None:
    with pytest.raises(ConfigError, match="no header can have"):
        HeaderKey("Authorization", f"Bearer {key}")
