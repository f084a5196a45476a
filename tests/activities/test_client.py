"""How to connect to Temporal: what is wrong with its settings is said without showing any of them."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from activities.client import connect_config
from activities.environment import SettingsError

KEY = "an-api-key-of-temporal-cloud"
PROFILE = "[profile.default]\n"


def fault(file: Path, **variables: str) -> str:
    """The only fault of the settings with this file, whose every way of being shown is searched for the key."""
    with pytest.raises(SettingsError) as raised:
        connect_config({"TEMPORAL_CONFIG_FILE": str(file), **variables})
    assert KEY not in "".join(traceback.format_exception(raised.value))
    [found] = raised.value.faults
    return str(found)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        (f'{PROFILE}api_key = "{KEY}\n', "line 2, column", "invalid basic string"),
        (f"{PROFILE}api_key = {KEY}\n", "line 2, column 11", "string values must be quoted"),
        (f'{PROFILE}api_key = ["{KEY}"]\n', "line 2, column 11", "invalid type"),
        (f'{PROFILE}api_key = "x"\napi_key = "{KEY}"\n', "line 3, column 1", "duplicate key"),
        (f'profile = "{KEY}"\n', "line 1, column 11", "invalid type"),
        (f"{PROFILE}[profile.default.tls]\nclient_key_data = {KEY}\n", "line 3, column 19", "must be quoted"),
        (f"{PROFILE}[profile.default.grpc_meta]\nauthorization = {KEY}\n", "line 3, column 17", "must be quoted"),
        (f'{PROFILE}api_key = "{KEY}" {KEY}\n', "line 2, column", ""),
        (f'{PROFILE}"{KEY}\n', "line 2, column", ""),
    ],
)
def test_broken_toml_is_told_by_its_place_and_never_quoted(tmp_path: Path, text: str, place: str, reason: str) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text(text)
    said = fault(file)
    assert said.startswith(f"{file} cannot be read at {place}")
    assert reason in said


def test_bytes_that_are_not_utf_8_are_told_by_the_file(tmp_path: Path) -> None:
    file = tmp_path / "temporal.toml"
    file.write_bytes(f'{PROFILE}api_key = "{KEY}'.encode() + b'\xff"\n')
    assert f"{file} cannot be used" in fault(file)


def test_an_unknown_profile_is_told_by_its_variable(tmp_path: Path) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text(f'[profile.other]\napi_key = "{KEY}"\n')
    assert fault(file, TEMPORAL_PROFILE="prod") == (
        f"TEMPORAL_PROFILE names a profile that {file} does not have: name one that it has"
    )


def test_an_address_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text(f'{PROFILE}address = "user:{KEY}@host:7233"\n')
    assert fault(file).startswith("TEMPORAL_ADDRESS is not HOST:PORT: ")


def test_a_certificate_that_is_missing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text(f'{PROFILE}api_key = "{KEY}"\n[profile.default.tls]\nclient_cert_path = "{tmp_path}/none.pem"\n')
    assert f"names {tmp_path}/none.pem, which cannot be read" in fault(file)


def test_a_key_given_twice_is_named_by_both_ways(tmp_path: Path) -> None:
    ways = {"TEMPORAL_TLS_CLIENT_KEY_DATA": KEY, "TEMPORAL_TLS_CLIENT_KEY_PATH": "/x"}
    said = fault(tmp_path / "none.toml", **ways)
    assert all(name in said for name in ways)
