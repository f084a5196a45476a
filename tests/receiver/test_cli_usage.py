"""Wrong usage and wrong settings end a command with a sentence; `--help` lists what there is."""

from __future__ import annotations

import socket
from pathlib import Path
from unittest.mock import patch

import pytest

from receiver.cli.demo.running import PROJECT, next_commands
from tests.commands import run_alone
from tests.local_stack import Local, run_command
from tests.parts.endings import refused


@pytest.mark.parametrize(
    "args",
    [
        ["partner", "send", "hooks.test/callbacks/x"],
        ["partner", "send", "http://x", "--data", "{"],
        ["partner", "send", "http://x", "--times", "0"],
        ["partner", "send", "http://x", "--body", "@/nonexistent"],
        ["partner", "send", "http://x", "--content-type", "a\nb"],
        ["partner", "serve", "--plays", "bank=unheard-of"],
        ["partner", "serve", "--delay", "nan"],
        ["delivery", "list", "--stage", "0"],
        ["pipeline", "start"],
        ["pipeline", "advance", "x", "one"],
        ["unheard-of"],
        ["serve", "--port", "1"],
    ],
)
def test_wrong_usage_exits_2(args: list[str]) -> None:
    refused(run_alone(*args), 2)


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_processes_report_every_missing_setting_at_once(command: str) -> None:
    done = run_alone(command)
    message = refused(done, 2)
    assert all(name in message for name in ("PUBLIC_URL", "CALLBACK_KEYS", "PARTNERS"))


@pytest.mark.parametrize("command", [["serve"], ["partner", "serve"]])
def test_a_port_that_is_taken_is_told_in_a_sentence(local: Local, command: list[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        args = [*command, "--port", port] if command[0] == "partner" else command
        done = local.command(*args, PORT=port)
    assert f"port {port} cannot be listened on" in refused(done, 1)


@pytest.mark.parametrize("command", [["serve"], ["worker"], ["pipeline", "list"]])
@pytest.mark.parametrize(
    "setting", [{"TEMPORAL_ADDRESS": "foo bar"}, {"TEMPORAL_ADDRESS": "http://x:1"}, {"TEMPORAL_PROFILE": "missing"}]
)
def test_wrong_temporal_settings_are_told_at_start(local: Local, command: list[str], setting: dict[str, str]) -> None:
    with patch("logging.config.dictConfig"):  # a worker sets up the logging of its whole process
        done = local.command(*command, given=b"", **setting)
    assert "TEMPORAL_" in refused(done, 2)


def test_help_says_what_there_is() -> None:
    shown = run_command("--help").stdout.decode()
    assert all(noun in shown for noun in ("demo", "serve", "worker", "pipeline", "token", "partner", "signature"))


def test_a_demo_names_commands_that_there_are_where_it_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    assert Path("Makefile").is_file()
    assert "  make replay FROM=.dev/demo.jsonl" in "\n".join(next_commands(Path(".dev/demo.jsonl")))
    monkeypatch.chdir(tmp_path)
    shown = "\n".join(next_commands(Path(".dev/demo.jsonl")))
    assert "stagehook delivery replay --from .dev/demo.jsonl" in shown
    assert "stagehook dev " in shown
    assert "  make" not in shown
