"""Commands on the pages have the options that they name."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from receiver.cli import stagehook
from receiver.cli.demo.processes import free_port
from tests.parts.pages import EVENT_BASED, MADE, MAKE, PAGES, ROOT, blocks, commands
from tests.parts.temporal import BINARIES


@pytest.mark.system
def test_make_demo_and_make_test_are_what_their_tests_run() -> None:
    shown = {
        command: subprocess.run([*MAKE, "-n", *command.split()[1:]], capture_output=True, text=True, check=True).stdout
        for command in MADE
    }
    assert "stagehook demo" in shown["make demo"]
    assert "pytest" in shown["make test"]
    kept = subprocess.run([*MAKE, "-n", "demo", "KEEP=1"], capture_output=True, text=True, check=True).stdout
    assert "stagehook demo --keep" in kept


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run([*MAKE, "help"], capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in shown.splitlines()] == targets
    assert {"demo", "test", "check", "dev"} <= set(targets)


@pytest.mark.parametrize(("packages", "groups"), [("playwright", 1), ("pytest", 0)])
def test_setup_keeps_what_make_browser_added(tmp_path: Path, packages: str, groups: int) -> None:
    (tmp_path / ".venv/lib/python3.11/site-packages" / packages).mkdir(parents=True)
    words = ["make", "-n", "-C", str(tmp_path), "-f", str(ROOT / "Makefile"), "setup"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert len(re.findall(r" sync --locked .*--group browser", shown)) == groups


def test_make_replay_takes_a_file_whose_name_has_blanks(tmp_path: Path) -> None:
    settings, file, shows = (tmp_path / name for name in ("env", "it's a file.jsonl", "shows"))
    settings.touch()
    shows.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    shows.chmod(0o700)
    words = [*MAKE, "-o", "setup", "replay", f"FROM={file}", f"ENV={settings}", f"RUN={shows}", "ARGS=--expect"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-3:] == ["--from", str(file), "--expect"]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_a_page_has_options_that_exist(page: str) -> None:
    """Parsed, not run: `make faults` runs them against a `make dev`."""
    calls = [words for line in commands(PAGES[page]) for words in calls_of_stagehook(line)]
    assert len(calls) == len(re.findall(r"\bstagehook [a-z]", "\n".join(commands(PAGES[page]))))
    for words in calls:
        parse(words)


def test_the_page_of_development_names_options_that_exist() -> None:
    """They run without end, or need another system; tests/test_dev.py and tests/test_replay.py run such commands."""
    lines = [line for name in ("develop", "replay") for block in blocks(PAGES[name], "") for line in block.splitlines()]
    calls = [re.sub(r"^(?:[A-Z_]+=\S+ )*", "", line) for line in lines]
    calls = [line for line in calls if line.startswith("stagehook ")]
    assert len(calls) >= 5
    for line in calls:
        parse(shlex.split(line)[1:])


def calls_of_stagehook(line: str) -> Iterator[list[str]]:
    """The words behind `stagehook` of each call in a line of a shell, such as `stagehook a | stagehook b > file`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for is_punctuation, words in itertools.groupby(lexer, lambda word: set(word) <= set("();<>|&")):
        found = list(words)
        if not is_punctuation and found[0] == "stagehook":
            yield found[1:]


def parse(words: list[str]) -> None:
    """Raises `click.UsageError`, unless these words are valid for the command that they name."""
    command: click.Command = stagehook
    context = command.make_context("stagehook", list(words))
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)
        context.close()


@pytest.mark.parametrize("words", [["pipeline", "lists"], ["pipeline", "list", "--al"], ["pipeline", "show"]])
def test_a_command_that_does_not_exist_is_found(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


def test_the_commands_about_events_are_valid() -> None:
    """`tests/workflows/test_event_based.py` sends the same signals; here each is run for its usage."""
    for command in commands(EVENT_BASED):
        words = shlex.split(command)
        if words[0] == "stagehook":  # run by the test of the commands for beginners
            continue
        assert words[0] == "temporal"
        done = subprocess.run(
            [
                str(BINARIES / "temporal"),
                *words[1:],
                "--address",
                f"127.0.0.1:{free_port()}",
                "--command-timeout",
                "1s",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "unknown flag" not in done.stderr
        assert "Usage" not in done.stderr
