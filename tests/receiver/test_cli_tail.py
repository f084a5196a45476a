"""`stagehook delivery tail` on a store without a receiver: each delivery once, as it comes in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa

from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.cli.demo.stack import stagehook_command
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from tests.local_stack import running
from tests.parts.deliveries import delivery, match_call, waiting_delivery
from tests.parts.empty_stores import SQLiteFiles
from tests.parts.filled_stores import on
from tests.stores import url_of

pytestmark = pytest.mark.system


def test_tail_prints_what_comes_in(database: Database) -> None:
    Archive(database).add([delivery(workflow_id="before")])
    one, other = delivery(), delivery(workflow_id="other", partner="other")
    pauses = [lambda: Archive(database).add([other, one])]
    assert tailed(database, "--partner", "bank", pauses=pauses) == [one.id]


def test_a_process_prints_what_comes_in(sqlite_files: SQLiteFiles, tmp_path: Path) -> None:
    database = sqlite_files.copy(tmp_path)
    Archive(database).add([delivery(workflow_id="before")])
    printed = tmp_path / "printed"
    words = ["delivery", "tail", "--json", "--partner", "bank"]
    with running(stagehook_command(*words), {"DATABASE_URL": url_of(database)}, printed):
        deadline = time.monotonic() + 90
        while not printed.stat().st_size and time.monotonic() < deadline:
            Archive(database).add([delivery(workflow_id="other", partner="other"), delivery(workflow_id="during")])
            time.sleep(0.2)
    assert {json.loads(line)["workflow_id"] for line in printed.read_text().splitlines()} == {"during"}


def interrupt() -> None:
    raise KeyboardInterrupt


def tailed(database: Database, *options: str, pauses: Sequence[Callable[[], object]] = ()) -> list[str]:
    """The ids that `tail` prints, if this happens in its pauses."""
    happening = iter([*pauses, interrupt])
    with patch("receiver.cli.delivery.listing.time.sleep", side_effect=lambda _: next(happening)()):
        done = on(database, "delivery", "tail", "--json", *options)
    assert done.code == 130
    return [json.loads(line)["id"] for line in done.out.splitlines()]


def settle(database: Database, fate: Fate) -> None:
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).values(fate=fate.value))


def test_tail_prints_a_delivery_once_it_has_the_wanted_fate(database: Database) -> None:
    ones = [delivery(partner=partner, fate=Fate.PENDING) for partner in ("bank", "bank", "esign")]
    pauses = [
        lambda: Archive(database).add(ones),
        lambda: settle(database, Fate.PARKED),
        lambda: settle(database, Fate.TAKEN),
        lambda: settle(database, Fate.TAKEN),
    ]
    assert tailed(database, "--fate", "taken", "--partner", "bank", pauses=pauses) == [one.id for one in ones[:2]]


@pytest.mark.parametrize(
    "words", [("--workflow", "run"), ("--stage", "1"), ("--verdict", "accepted"), ("--fate", "pending")]
)
def test_tail_prints_a_delivery_whose_call_is_known_later(database: Database, words: tuple[str, ...]) -> None:
    one = waiting_delivery()
    pauses = [lambda: Archive(database).add([one]), lambda: None, lambda: match_call(database, one), lambda: None]
    assert tailed(database, *words, pauses=pauses) == [one.id]


def test_tail_prints_a_duplicate_whose_call_is_known_later(database: Database) -> None:
    one = waiting_delivery()
    matching = lambda: match_call(database, one, verdict="duplicate", fate="")  # noqa: E731
    assert tailed(database, "--stage", "1", pauses=[lambda: Archive(database).add([one]), matching]) == [one.id]


@pytest.mark.parametrize("fate", [Fate.NONE, Fate.PARKED])
def test_tail_prints_a_broken_delivery_that_is_read_again(database: Database, fate: Fate) -> None:
    one = waiting_delivery(verdict="broken", fate=fate)
    reading = lambda: match_call(database, one, verdict="broken")  # noqa: E731
    assert tailed(database, "--workflow", "run", pauses=[lambda: Archive(database).add([one]), reading]) == [one.id]


def test_tail_loses_nothing_that_comes_in_behind_its_first_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, one = delivery(), delivery()
    Archive(database).add([before])

    def newest(archive: Archive, limit: int, first: Callable[..., Any] = Archive.newest) -> Any:
        try:
            return first(archive, limit)
        finally:
            archive.add([one])

    monkeypatch.setattr(Archive, "newest", newest)
    assert tailed(database) == [one.id]


PAGE = OVERLAP_POSITIONS = 20


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the real ones, so that several of them are soon written."""
    monkeypatch.setattr("receiver.cli.delivery.following.OVERLAP_POSITIONS", OVERLAP_POSITIONS)
    monkeypatch.setattr("receiver.deliveries.archive.PAGE", PAGE)


@pytest.mark.usefixtures("_small_pages")
@pytest.mark.parametrize("of_tail", [(), ("--since", "1h")], ids=["from now on", "since"])
def test_tail_loses_nothing_that_commits_behind_an_import(database: Database, of_tail: tuple[str, ...]) -> None:
    first, late, *page = (delivery() for _ in range(2 + 3 * OVERLAP_POSITIONS))
    of_late = DELIVERIES.c.id == late.id

    def come() -> int | None:
        Archive(database).add([first, late, *page])
        with database.begin() as connection:
            position = connection.execute(sa.select(DELIVERIES.c.position).where(of_late)).scalar()
            connection.execute(sa.delete(DELIVERIES).where(of_late))
        return position

    def commit(position: int | None) -> None:
        Archive(database).add([late])
        with database.begin() as connection:
            connection.execute(sa.update(DELIVERIES).where(of_late).values(position=position))

    positions: list[int | None] = []
    pauses = [lambda: positions.append(come()), lambda: None, lambda: commit(positions[0])]
    assert tailed(database, *of_tail, pauses=pauses) == [one.id for one in (first, *page, late)]


def test_tail_prints_what_is_there_since_then_and_follows(filled: Database) -> None:
    runs = {one.id: one.workflow_id for one in Archive(filled).every()}
    after = delivery(workflow_id="after")
    pauses = [lambda: Archive(filled).add([after])]
    printed = tailed(filled, "--since", "150m", "--partner", "bank", pauses=pauses)
    assert [{**runs, after.id: "after"}[id_] for id_ in printed] == ["run-0", "run-2", "after"]


def test_tail_since_the_epoch_prints_what_is_there(database: Database) -> None:
    one = delivery()
    Archive(database).add([one])
    assert tailed(database, "--since", "1970-01-01") == [one.id]


@pytest.mark.usefixtures("_small_pages")
def test_a_long_past_is_printed_once_and_without_a_pause(database: Database) -> None:
    made = [delivery(received_at=1.8e9 + n) for n in range(-OVERLAP_POSITIONS, 3 * PAGE)]
    Archive(database).add(made)
    assert tailed(database, "--since", "2027-01-15T08:00:00") == [one.id for one in made[OVERLAP_POSITIONS:]]


def test_tail_has_no_end(database: Database) -> None:
    done = on(database, "delivery", "tail", "--until", "1h")
    assert done.code == 2
    assert "`stagehook delivery list --until" in done.err
