"""Ids that are refused before anything is sent, and what ends or deletes, which asks first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from activities.store import migrations
from activities.store.database import Database
from receiver.cli import stagehook
from tests.commands import command

NOWHERE = "127.0.0.1:1"
LONG = "x" * 1_001
RUN_WORDS = (["show"], ["result"], ["watch"], ["advance", "1"], ["cancel", "--yes"], ["skip", "1", "--reason", "x"])
"""Commands for a run, without its id."""


def sent_nothing(*words: str, says: str) -> None:
    """The command is a usage error, although Temporal is away: it was not even asked."""
    done = command(*words, TEMPORAL_ADDRESS=NOWHERE)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.isascii()


# --- ids


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "the id is empty"),
        (" ", "the id is empty"),
        (LONG, "the id has 1001 bytes, more than 1000"),
        ("é" * 600, "the id has 1200 bytes, more than 1000"),
        ("a\nb", "the id holds the control character \\n"),
        ("a\x1b[2J", "the id holds the control character \\x1b"),
        ("a\u202eb", "the id holds the control character \\u202e"),
        ("a\udcffb", "the id holds the control character \\udcff"),
    ],
)
def test_an_id_that_no_run_should_have_starts_nothing(given: str, says: str) -> None:
    sent_nothing("pipeline", "start", "onboarding", "--id", given, says=says)
    sent_nothing("pipeline", "skip", "run", "1", "--reason", "x", "--id", given, says=says)


def test_an_id_of_the_longest_size_is_sent() -> None:
    words = ["pipeline", "start", "onboarding", "--input", '{"full_name": "a", "date_of_birth": "b", "iban": "c"}']
    assert command(*words, "--id", LONG[1:], TEMPORAL_ADDRESS=NOWHERE).code == 7


@pytest.mark.parametrize("words", RUN_WORDS)
@pytest.mark.parametrize(("given", "says"), [("", "the id is empty"), (LONG, "1001 bytes")])
def test_no_run_is_looked_for_by_an_impossible_id(words: list[str], given: str, says: str) -> None:
    sent_nothing("pipeline", words[0], given, *words[1:], says=says)


@pytest.mark.parametrize("words", [["delivery", "list"], ["delivery", "release"], ["delivery", "replay"]])
def test_an_empty_filter_does_not_choose_every_run(words: list[str]) -> None:
    sent_nothing(*words, "--workflow", "", says="the id is empty")


# --- asking


def test_every_command_that_may_ask_has_yes() -> None:
    def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
        for name in group.list_commands(click.Context(group)):
            inner = group.get_command(click.Context(group), name)
            assert inner is not None
            if isinstance(inner, click.Group):
                yield from leaves(inner, f"{path}{name} ")
            else:
                yield f"{path}{name}", inner

    asking = {path for path, leaf in leaves(stagehook) if any("--yes" in one.opts for one in leaf.params)}
    assert {
        *("pipeline advance", "pipeline cancel", "pipeline fail", "partner stop", "partner undo"),
        *("db downgrade", "db prune"),
    } <= asking


def test_a_stage_is_not_failed_without_a_yes() -> None:
    words = ["pipeline", "fail", "run", "3", "--reason", "x"]
    sent_nothing(*words, says="cannot be confirmed: settle stage 3 of run as failed, which ends the run")
    assert command(*words, "--yes", TEMPORAL_ADDRESS=NOWHERE).code == 7


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/store.db"
    migrations.upgrade(Database(url))
    return url


def test_deliveries_are_not_deleted_without_a_yes(store: str) -> None:
    words = ["db", "prune", "--older-than", "30d"]
    unasked = command(*words, DATABASE_URL=store)
    assert (unasked.code, unasked.out) == (2, "")
    assert "delete the deliveries in" in unasked.err
    assert unasked.err.splitlines()[-1] == "  try: say --yes"
    assert command(*words, "--yes", DATABASE_URL=store).out == "0 deliveries deleted\n"
