"""Settings: read from the environment given, every fault at once, with its name and a way out."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial

import pytest

from activities.builds import Build
from activities.environment import Environment, SettingsError, is_loopback
from activities.handshakes import Handshake
from activities.metrics_settings import PushSettings
from activities.partners import PARTNERS, sandbox
from activities.partners.partner import Partner, handshake, signature
from activities.settings import Settings
from receiver.cli.demo.stack import sample_partners
from tests.parts.partner_list import list_only
from tests.support import KEY

GOOD = {"PUBLIC_URL": "http://127.0.0.1:8000", "CALLBACK_KEYS": KEY, "PARTNERS": "identity, bank"}
GOOD |= sample_partners("http://127.0.0.1:8090")


def faults(**changes: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({**GOOD, **changes})
    return {fault.name: str(fault) for fault in raised.value.faults}


def test_good_settings_are_read_with_defaults() -> None:
    settings = Settings.from_env(GOOD)
    assert list(settings.partners) == ["identity", "bank"]
    assert (settings.task_queue, settings.host, settings.port) == ("stagehook", "127.0.0.1", 8000)


def test_every_fault_is_reported_at_once_with_a_fix() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({})
    assert {fault.name for fault in raised.value.faults} == {"PUBLIC_URL", "CALLBACK_KEYS", "PARTNERS"}
    assert all(fault.fix for fault in raised.value.faults)


@pytest.mark.parametrize(
    "url",
    [
        *("hooks.example.com", "ftp://x", "https://", "https://[x", "https://[::1]x", "https://x:99999"),
        *(f"https://{user}x.example" for user in ("u:p@", "u@", "@")),
        *(f"https://x.example/{rest}" for rest in ("?a=1", "?", "#", "\\a", "a b", "a\tb", "a\nb", "\x7f/a", "é")),
    ],
)
def test_a_public_url_must_be_a_plain_base_url(url: str) -> None:
    assert "PUBLIC_URL" in faults(PUBLIC_URL=url)


def test_the_build_and_the_workers_port_are_read() -> None:
    settings = Settings.from_env({**GOOD, "BUILD_ID": "0a1b2c3", "METRICS_PORT": "9464"})
    assert (settings.build, settings.metrics.port) == (Build("0a1b2c3"), 9464)
    wrong = faults(WORKER_VERSIONING="1", METRICS_PORT="127.0.0.1:9464", METRICS_TOKEN="short")
    assert set(wrong) == {"BUILD_ID", "METRICS_PORT", "METRICS_TOKEN"}


def test_nothing_is_counted_unless_it_is_shown_or_pushed() -> None:
    assert not Settings.from_env(GOOD).metrics.are_counted
    assert Settings.from_env({**GOOD, "METRICS_PORT": "9464"}).metrics.are_counted
    assert Settings.from_env({**GOOD, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}).metrics.are_counted


def test_what_opentelemetry_calls_a_push_is_read() -> None:
    named = {"OTEL_SERVICE_NAME": "acme", "OTEL_METRIC_EXPORT_INTERVAL": "2500"}
    push = Settings.from_env({**GOOD, "OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example/otlp", **named}).metrics.push
    assert push == PushSettings("acme", 2.5)
    assert Settings.from_env({**GOOD, **named}).metrics.push is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer s3cret-of-ours"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=s3cret-of-ours"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key=s3cret-of-ours\nx"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5s"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
    ],
)
def test_a_push_that_cannot_work_is_a_fault(name: str, value: str) -> None:
    wrong = faults(**{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", name: value})
    assert set(wrong) == {name}
    assert "s3cret" not in str(wrong)


@pytest.mark.parametrize("scheme", ["http", "HTTP", "Http"])
def test_a_public_url_must_be_https_unless_it_is_this_machine(scheme: str) -> None:
    assert "use https" in faults(PUBLIC_URL=f"{scheme}://hooks.example.com")["PUBLIC_URL"]


def test_the_sandbox_is_refused_where_the_public_url_is_public() -> None:
    assert "only for tests" in faults(PUBLIC_URL="https://hooks.example.com")["PARTNERS"]


@pytest.mark.parametrize("key", ["short", "a" * 64, "ab" * 32, f"{KEY},weak"])
def test_weak_keys_are_refused_and_not_shown(key: str) -> None:
    fault = faults(CALLBACK_KEYS=key)["CALLBACK_KEYS"]
    assert "weak key in place" in fault
    assert key.split(",")[-1] not in fault.replace("a weak key", "")


SAMPLE = "a-key-of-at-least-32-characters-0123"


def test_a_key_made_by_hand_is_refused_for_a_public_url() -> None:
    fault = faults(PUBLIC_URL="https://hooks.example.com", CALLBACK_KEYS=f"{secrets.token_urlsafe(32)},{SAMPLE}")
    assert "a guessable key in place 2" in fault["CALLBACK_KEYS"]
    assert "`stagehook key generate`" in fault["CALLBACK_KEYS"]
    assert SAMPLE not in str(fault)


def test_a_key_made_by_hand_is_taken_on_this_machine() -> None:
    assert Settings.from_env({**GOOD, "CALLBACK_KEYS": SAMPLE}).callback_keys == (SAMPLE,)


@pytest.mark.parametrize("secret", ["x", "1234567"])
@pytest.mark.parametrize("name", ["IDENTITY_KEY", "IDENTITY_SECRET", "BANK_KEY", "BANK_SECRET"])
def test_a_partners_short_secret_is_refused_everywhere(name: str, secret: str) -> None:
    fault = faults(**{name: secret})[name]
    assert "fewer than 8 characters" in fault


@pytest.mark.parametrize("name", ["meta", "zoom", "x-crc"])
def test_a_handshakes_secret_of_a_few_characters_is_refused(name: str) -> None:
    environment = Environment({"ACME_SECRET": "x"})
    assert handshake(name, environment, "ACME_SECRET", fix="its secret") is None
    assert [str(fault) for fault in environment.faults] == [
        "ACME_SECRET has a secret of fewer than 8 characters: its secret"
    ]


def test_the_origin_of_a_handshake_is_no_secret() -> None:
    environment = Environment({"ACME_ORIGIN": "a.io"})
    assert handshake("cloudevents", environment, "ACME_ORIGIN", fix="its origin") == Handshake("cloudevents", "a.io")


def test_an_unknown_partner_is_named_with_the_known_ones() -> None:
    fault = faults(PARTNERS="bank,bnak")["PARTNERS"]
    assert "'bnak'" in fault
    assert all(name in fault for name in PARTNERS)


@pytest.mark.parametrize("number", ["x", "-1", "0", "65536", "80.0", "٣", "9" * 5000])
def test_numbers_are_whole_and_in_their_range(number: str) -> None:
    assert set(faults(PORT=number, WEB_CONCURRENCY=number)) == {"PORT", "WEB_CONCURRENCY"}


@pytest.mark.parametrize("name", ["IDENTITY_KEY", "IDENTITY_SECRET", "BANK_KEY", "BANK_SECRET"])
def test_only_enabled_partners_variables_are_required(name: str) -> None:
    assert set(faults(**{name: "", "ESIGN_KEY": "", "CARDS_KEY": ""})) == {name}


def test_bytes_that_are_no_text_are_a_fault() -> None:
    environment = Environment({"ACME_KEY": b"k\xff".decode("utf-8", "surrogateescape")})
    environment.text("ACME_KEY", fix="its key")
    assert [fault.problem for fault in environment.faults] == ["is not UTF-8 text"]


def test_a_list_of_nothing_is_a_fault() -> None:
    assert "names nothing" in faults(PARTNERS=" , ")["PARTNERS"]


def test_a_fault_that_several_partners_share_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {name: partial(sandbox.partner, name) for name in ("identity", "bank")}
    list_only(monkeypatch, shared)
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({**GOOD, "SANDBOX_URL": "http://sandbox.example.com"})
    assert [fault.name for fault in raised.value.faults] == ["SANDBOX_URL"]


def test_a_partner_whose_file_cannot_be_used_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(env: Environment) -> Partner:
        return replace(sandbox.partner("bank", env), rate=0)

    list_only(monkeypatch, {"bank": broken})
    fault = faults(PARTNERS="bank")["PARTNERS"]
    assert "'bank'" in fault
    assert "rate is a number" in fault
    assert "file" in fault


def test_a_partner_that_is_listed_under_another_name_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    list_only(monkeypatch, {"bank": partial(sandbox.partner, "acme")})
    fault = faults(PARTNERS="bank")["PARTNERS"]
    assert "'bank'" in fault
    assert "'acme'" in fault


def test_a_missing_shared_secret_is_not_taken_for_unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    def slack(name: str, env: Environment) -> Partner:
        signs = signature("slack", env, "SLACK_SECRET", fix="from the app's page")
        return replace(sandbox.partner(name, env), signature=signs, handshake=Handshake("slack"))

    list_only(monkeypatch, {name: partial(slack, name) for name in ("identity", "bank")})
    assert set(faults()) == {"SLACK_SECRET"}


def test_a_public_receiver_listens_on_every_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    def solid(env: Environment) -> Partner:
        return replace(sandbox.partner("solid", env), loopback_only=False)

    list_only(monkeypatch, {"solid": solid})
    settings = Settings.from_env(
        {
            **GOOD,
            "PUBLIC_URL": "https://hooks.example.com/",
            "PARTNERS": "solid",
            "CALLBACK_KEYS": secrets.token_urlsafe(32),
        }
    )
    assert (settings.host, settings.public_url) == ("0.0.0.0", "https://hooks.example.com")


def test_keys_are_not_shown_by_repr() -> None:
    assert KEY not in repr(Settings.from_env(GOOD))


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80", True),
        ("http://localhost", True),
        ("http://[::1]:9", True),
        ("https://127.example.com", False),
        ("https://10.0.0.1", False),
        ("https://[x", False),
        ("http://[::1]public.example", False),
    ],
)
def test_loopback_is_told_from_the_rest(url: str, *, loopback: bool) -> None:
    assert is_loopback(url) is loopback


def test_the_version_of_new_tokens_is_1_or_2() -> None:
    read = [Settings.from_env({**GOOD, **given}).token_version for given in ({}, {"TOKEN_VERSION": "2"})]
    assert read == [1, 2]
    for wrong in ("0", "3", "two"):
        assert "is not a number from 1 to 2" in faults(TOKEN_VERSION=wrong)["TOKEN_VERSION"]


def test_a_negative_longest_url_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(env: Environment) -> Partner:
        return replace(sandbox.partner("bank", env), longest_url=-1)

    list_only(monkeypatch, {"bank": broken})
    assert "longest_url is -1: use a number of characters, or 0" in faults(PARTNERS="bank")["PARTNERS"]


# --- development


def in_development(**changes: str) -> dict[str, str]:
    local = {"DEVELOPMENT": "1", "TEMPORAL_ADDRESS": "127.0.0.1:7233", "DATABASE_URL": "sqlite:///deliveries.db"}
    return {
        **GOOD,
        "PUBLIC_URL": "https://a-tunnel.example.com",
        "CALLBACK_KEYS": secrets.token_urlsafe(32),
        **local,
    } | changes


def test_development_lets_a_tunnel_go_with_samples_and_sqlite() -> None:
    settings = Settings.from_env(in_development())
    assert (settings.public_url, settings.host) == ("https://a-tunnel.example.com", "127.0.0.1")
    assert settings.store is not None


@pytest.mark.parametrize("address", ["", "temporal.example.com:7233", "10.0.0.1:7233", "localhost.example.com:7233"])
def test_development_is_refused_beside_another_temporal(address: str) -> None:
    with pytest.raises(SettingsError, match="DEVELOPMENT is 1, but TEMPORAL_ADDRESS does not name this machine"):
        Settings.from_env(in_development(TEMPORAL_ADDRESS=address))


@pytest.mark.parametrize("value", ["", "0", "true", "yes"])
def test_no_other_value_is_development(value: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env(in_development(DEVELOPMENT=value))
    assert {fault.name for fault in error.value.faults} == {"PARTNERS", "DATABASE_URL"}


def test_development_takes_no_guessable_key_with_a_tunnel() -> None:
    with pytest.raises(SettingsError, match="a guessable key"):
        Settings.from_env(in_development(CALLBACK_KEYS=SAMPLE))
