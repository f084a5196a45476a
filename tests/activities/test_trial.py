"""TRIAL=1: the samples' settings follow from PUBLIC_URL and CALLBACK_KEYS, and real partners stay out."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from activities.callback_urls import CallbackURLs, Claims
from activities.environment import SettingsError
from activities.partners import PARTNERS, sandbox
from activities.settings import Settings
from activities.strength import is_patterned_key, is_weak_key
from activities.trial import DEFAULT_PARTNERS, SAMPLES, derived_secrets
from receiver.sandbox.roles import ROLES
from receiver.settings import WebSettings
from workflows.pipelines import ONBOARDING

NEW, OLD = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
TRIAL = {"PUBLIC_URL": "https://hooks.example.com", "CALLBACK_KEYS": NEW, "TRIAL": "1"}


def trial_faults(**changes: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({**TRIAL, **changes})
    return [str(fault) for fault in raised.value.faults]


def test_a_fresh_clone_needs_no_more_than_an_address_and_keys() -> None:
    settings = Settings.from_env(TRIAL)
    assert settings.trial
    assert ",".join(settings.partners) == DEFAULT_PARTNERS
    assert {stage.partner for stage in ONBOARDING.stages} <= set(settings.partners)


def test_every_partner_that_the_sandbox_plays_is_a_sample() -> None:
    assert set(SAMPLES) == {*ROLES, "sandbox"}


def test_every_sample_but_cards_signs_its_callbacks() -> None:
    partners = Settings.from_env({**TRIAL, "PARTNERS": ",".join(SAMPLES), "DATABASE_URL": "postgres://db/x"}).partners
    assert {name for name, partner in partners.items() if partner.signature is None} == {"cards"}
    assert all(partner.auth for partner in partners.values())


@pytest.mark.parametrize("value", ["", "0"])
def test_without_trial_a_public_address_takes_no_samples(value: str) -> None:
    said = trial_faults(TRIAL=value, PARTNERS="sandbox")
    fix = "only a loopback PUBLIC_URL may enable it, or TRIAL=1 for a first deploy"
    assert said == [f"PARTNERS names sandbox, only for tests: {fix}"]


def test_trial_is_refused_beside_a_real_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTNERS, "acme", lambda env: replace(sandbox.partner("acme", env), loopback_only=False))
    [said] = trial_faults(PARTNERS="identity,acme")
    assert said.startswith("PARTNERS names acme, a real partner, beside TRIAL=1")


def test_trial_is_1_or_0() -> None:
    assert "TRIAL is neither 0 nor 1: set it to 1, or remove it" in trial_faults(TRIAL="yes", PARTNERS="sandbox")


def test_a_samples_address_elsewhere_is_refused() -> None:
    [said] = trial_faults(BANK_URL="https://elsewhere.example.com")
    assert said == "BANK_URL is set beside TRIAL=1, which plays this partner inside web: remove it"
    assert Settings.from_env({**TRIAL, "BANK_URL": "https://hooks.example.com/trial/bank/"})


@pytest.mark.parametrize("key", ["short-key", "a-key-of-at-least-32-characters-0123"])
def test_a_given_key_must_be_strong_on_a_public_address(key: str) -> None:
    [said] = trial_faults(BANK_KEY=key)
    assert said.startswith("BANK_KEY is weak")
    assert key not in said


def test_derived_secrets_are_strong_and_all_different() -> None:
    made = derived_secrets([NEW])
    assert len(set(made.values())) == len(made) == 2 * len(SAMPLES)
    assert not [name for name, value in made.items() if is_weak_key(value) or is_patterned_key(value)]
    token = CallbackURLs("", [NEW]).issue(Claims("run", "chain", 1, 1, "bank", 1, 2**32))
    assert not [name for name, value in made.items() if value in token or NEW in value]


def test_derived_secrets_stay_the_same_between_releases() -> None:
    """Web and worker may have different releases for a while."""
    assert derived_secrets(["k" * 32])["BANK_KEY"] == "QGv0eT0bknz17z44r9VOp1QUMICqqDSP6B/Dgu/n"


def test_secrets_of_both_keys_verify_while_keys_are_rotated() -> None:
    both, old = derived_secrets([NEW, OLD]), derived_secrets([OLD])
    assert both["BANK_SECRET"].split(",")[1] == old["BANK_SECRET"]
    assert both["BANK_KEY"] == derived_secrets([NEW])["BANK_KEY"]


@pytest.mark.parametrize("settings", [Settings, WebSettings])
def test_app_json_asks_for_nothing_but_temporal(settings: type[Settings | WebSettings]) -> None:
    asked = json.loads((Path(__file__).parents[2] / "app.json").read_text())["env"]
    given = {name: entry["value"] for name, entry in asked.items() if "value" in entry}
    given |= {name: secrets.token_hex(32) for name, entry in asked.items() if entry.get("generator") == "secret"}
    needed = {name for name, entry in asked.items() if entry.get("required", True)} - set(given)
    assert needed == {"TEMPORAL_ADDRESS"}
    assert settings.from_env({**given, "HEROKU_APP_DEFAULT_DOMAIN_NAME": "app-1.herokuapp.com"})


def test_a_generated_secret_of_heroku_is_a_callback_key() -> None:
    """Its `generator: secret` makes hexadecimal digits."""
    for _ in range(200):
        assert Settings.from_env({**TRIAL, "CALLBACK_KEYS": secrets.token_hex(32)})


def test_a_generated_value_of_render_is_a_callback_key() -> None:
    """Its `generateValue: true` makes base64 of 256 bits."""
    for _ in range(50):
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        assert Settings.from_env({**TRIAL, "CALLBACK_KEYS": key})
