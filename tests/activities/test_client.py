"""How to connect to Temporal: what is wrong with its settings is said without showing any of them."""

from __future__ import annotations

import asyncio
import socket
import traceback
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.envconfig import ClientConnectConfig

from activities.client import connect_config, target_of
from activities.environment import SettingsError
from activities.target import Target
from tests.parts.certificates import issue

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


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_does_not_exist_is_told(tmp_path: Path, port: str) -> None:
    said = fault(tmp_path / "none.toml", TEMPORAL_ADDRESS=f"temporal.test:{port}")
    assert said == "TEMPORAL_ADDRESS has a port outside 1 to 65535: Temporal's default port is 7233"


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\n{KEY}"])
def test_a_key_with_a_line_break_or_a_blank_is_told(tmp_path: Path, key: str) -> None:
    assert fault(tmp_path / "none.toml", TEMPORAL_API_KEY=key).startswith(
        "TEMPORAL_API_KEY has a line break or a blank"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"CLIENT_CERT": "a"}, "TEMPORAL_TLS_CLIENT_CERT is set, and TEMPORAL_TLS_CLIENT_KEY is not: set both"),
        ({"CLIENT_KEY": "a key"}, "TEMPORAL_TLS_CLIENT_KEY is set, and TEMPORAL_TLS_CLIENT_CERT is not: set both"),
        ({"CLIENT_CERT": "a", "CLIENT_KEY": "b key"}, "TEMPORAL_TLS_CLIENT_KEY is not the key of TEMPORAL_TLS_CLIENT"),
        ({"CLIENT_CERT": "a", "CLIENT_KEY": "a"}, "TEMPORAL_TLS_CLIENT_KEY holds no private key in PEM: "),
        ({"CLIENT_CERT": "a key", "CLIENT_KEY": "a key"}, "TEMPORAL_TLS_CLIENT_CERT holds no certificate in PEM: "),
        ({"SERVER_CA_CERT": "a key"}, "TEMPORAL_TLS_SERVER_CA_CERT holds no certificate in PEM: "),
        ({"SERVER_CA_CERT": "junk"}, "TEMPORAL_TLS_SERVER_CA_CERT holds no certificate in PEM: "),
    ],
)
def test_certificates_that_cannot_be_used_are_told(tmp_path: Path, given: dict[str, str], said: str) -> None:
    a, b = issue("a"), issue("b")
    pems = {"a": a.pem, "a key": a.key_pem, "b": b.pem, "b key": b.key_pem, "junk": b"junk"}
    variables = {f"TEMPORAL_TLS_{name}_DATA": pems[pem].decode() for name, pem in given.items()}
    assert fault(tmp_path / "none.toml", **variables).startswith(said)


@pytest.mark.parametrize("address", ["orders.a1b2c.tmprl.cloud:7233", "us-west-2.aws.api.temporal.io:7233"])
def test_an_api_key_alone_switches_tls_on(address: str) -> None:
    cloud = {"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": "orders.a1b2c", "TEMPORAL_API_KEY": KEY}
    config = connect_config(cloud)
    assert (config["target_host"], config["namespace"], config["api_key"]) == (address, "orders.a1b2c", KEY)
    assert config["tls"] is True
    facts = dict(target_of(config).facts)
    assert facts.pop("identity").endswith(f"@{socket.gethostname()}")
    assert facts == {"address": address, "namespace": "orders.a1b2c", "tls": "on"}


@pytest.mark.parametrize(
    ("variables", "tls"),
    [
        ({}, "off"),
        ({"TEMPORAL_TLS": "true"}, "on"),
        ({"TEMPORAL_API_KEY": KEY, "TEMPORAL_TLS": "false"}, "off"),
        ({"TEMPORAL_TLS_SERVER_NAME": "temporal.test"}, "on"),
        ({"TEMPORAL_TLS_CLIENT_CERT_DATA": "cert", "TEMPORAL_TLS_CLIENT_KEY_DATA": "key"}, "mtls"),
    ],
)
def test_the_facts_say_whether_tls_is_on(variables: dict[str, str], tls: str) -> None:
    client = issue("client")
    pems = {"cert": client.pem.decode(), "key": client.key_pem.decode()}
    given = {name: pems.get(value, value) for name, value in variables.items()}
    assert target_of(connect_config({"TEMPORAL_CONFIG_FILE": "/none.toml", **given})).tls == tls


def test_the_target_is_the_same_from_settings_and_from_a_client() -> None:
    config = connect_config({"TEMPORAL_ADDRESS": "[::1]:7233", "TEMPORAL_API_KEY": KEY, "TEMPORAL_NAMESPACE": "orders"})
    target = asyncio.run(_lazily(config))
    assert target == target_of(config)
    assert (target.host, target.port, target.api_key) == ("::1", 7233, KEY)


async def _lazily(config: ClientConnectConfig) -> Target:
    return Target.of_client(await Client.connect(**config, lazy=True))
