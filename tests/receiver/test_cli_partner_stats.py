"""`stagehook partner stats`: what it prints of calls and deliveries with known times, and the wrong ways to ask."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from activities.store.database import Database
from receiver.deliveries.archive import Archive
from receiver.deliveries.partner_stats import read_stats
from receiver.durations import short_duration
from tests.commands import command
from tests.local_stack import Local, eventually
from tests.parts.deliveries import delivery
from tests.parts.endings import said
from tests.parts.filled_stores import on
from tests.parts.known_calls import call, callback, note
from tests.parts.local_runs import until
from tests.parts.terminals import on_terminal
from tests.stores import url_of
from workflows.durations import DAY, HOUR

pytestmark = pytest.mark.system

STAGES = "stage calls back p50 p95 p99 waiting too long late timeout suggested"
PARTNERS = "partner calls back p99 waiting too long refused last heard silent"


@pytest.fixture
def answering(database: Database) -> Database:
    """A bank that answered 100 calls after 1 s to 100 s, three days ago, and has been silent for six calls since."""
    of_now = partial(call, now=time.time())
    calls = [of_now(n, 3 * DAY) for n in range(1, 101)]
    note(
        database,
        [*calls, *(of_now(f"w{n}", 2 * DAY) for n in range(6))],
        [callback(one, n) for n, one in enumerate(calls, 1)],
    )
    unknown: dict[str, Any] = {"workflow_id": "", "chain_id": "", "stage": 0, "attempt": 0, "says": ""}
    Archive(database).add([delivery(**unknown, verdict="unproven", reason="mismatch: no key", status=401)])
    return database


def cells(line: str) -> str:
    return " ".join(line.split())


def test_a_stage_has_a_line_with_its_times_and_a_deadline(answering: Database) -> None:
    done = on(answering, "partner", "stats", "bank")
    lines = [cells(line) for line in done.out.splitlines()]
    assert (done.code, done.err, lines[0]) == (0, "", STAGES)
    assert lines[2] == "onboarding 2 account-check 106 100 50s 1.58m 1.65m 6 6 0 6h 5m"
    assert lines[4].startswith("since ")
    assert lines[5].endswith(" UTC, 2d ago")
    assert lines[7:] == [
        "silent yes: 6 calls wait too long, nothing since; see what was refused",
        "duplicates 0",
        "conflicts 0",
        "parked 0",
        "refused 1",
        "1 unproven: mismatch: no key",
    ]


def test_it_fits_a_terminal_of_80_columns(answering: Database) -> None:
    for words in (["bank"], []):
        shown = on_terminal(80, "partner", "stats", *words, DATABASE_URL=url_of(answering))
        assert max(map(len, shown)) <= 80
        assert "  onboarding 2 account-check" in shown or not words


def test_without_a_name_each_partner_has_a_line(answering: Database) -> None:
    """The enabled ones too that were never called."""
    lines = [cells(line) for line in on(answering, "partner", "stats", PARTNERS="esign, bank").out.splitlines()]
    bank, esign = lines[2:]
    assert lines[0] == PARTNERS
    assert bank == "bank 106 100 1.65m 6 6 1 3d ago yes"
    assert esign == "esign 0 0 0 0 0"


@pytest.mark.parametrize("words", [["bank"], []])
def test_json_has_every_figure(answering: Database, words: list[str]) -> None:
    [bank] = json.loads(on(answering, "partner", "stats", *words, "--json").out)["partners"]
    [stage] = bank.pop("stages")
    assert bank.pop("refused") == [{"verdict": "unproven", "reason": "mismatch: no key", "count": 1}]
    assert bank["times"] == stage["times"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert (stage["timeout"], stage["suggested"], bank["is_silent"]) == (6 * HOUR, 300.0, True)
    assert (bank["partner"], bank["calls"], bank["answered"], bank["waiting"]) == ("bank", 106, 100, 6)


def test_few_callbacks_suggest_no_deadline(database: Database) -> None:
    one = call("1", HOUR, now=time.time())
    note(database, [one], [callback(one, 5)])
    done = on(database, "partner", "stats", "bank")
    assert cells(done.out.splitlines()[2]).endswith("6h too few")
    assert "a deadline is suggested from 20 callbacks" in done.err


def test_a_partner_without_calls_is_told_so(database: Database) -> None:
    done = on(database, "partner", "stats", "bank")
    assert (done.code, cells(done.out.splitlines()[1])) == (0, "last call not since then")
    assert "no call to bank was recorded since then: a worker with DATABASE_URL records calls" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nobody"], "no partner is named 'nobody'"),
        ([""], "no partner is named ''"),
        (["\udcff"], "no partner is named"),
        (["bank", "--since", "2100-01-01"], "--since 2100-01-01 00:00:00 UTC is not over"),
        (["bank", "--since", "soon"], "invalid --since 'soon'"),
    ],
)
def test_wrong_words_are_told(database: Database, words: list[str], says: str) -> None:
    done = on(database, "partner", "stats", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_without_a_store_it_says_how_to_get_one() -> None:
    done = command("partner", "stats", "bank")
    assert (done.code, done.out) == (2, "")
    assert "error: statistics of partners come from a store, and DATABASE_URL is not set" in done.err
    assert "try: set DATABASE_URL for web and worker" in done.err


def test_a_store_that_is_away_is_told() -> None:
    done = command("partner", "stats", DATABASE_URL="postgresql://a:b@127.0.0.1:1/x")
    assert (done.code, done.out) == (7, "")
    assert "cannot be used" in done.err


def test_a_store_of_an_older_migration_is_told(empty_database: Database) -> None:
    with empty_database.begin() as connection:
        connection.execute(sa.text("CREATE TABLE deliveries (position integer)"))
    done = on(empty_database, "partner", "stats")
    assert (done.code, done.out) == (1, "")
    assert "try: run `stagehook db upgrade`" in done.err


def test_nothing_is_read_from_before_what_the_store_keeps(database: Database) -> None:
    """A call whose callback was deleted would count as waiting."""
    note(database, [call(name, age * DAY, now=time.time()) for name, age in (("old", 11), ("new", 9))])
    done = on(database, "partner", "stats", "bank", "--since", "20d", "--json", RETENTION_DAYS="10")
    assert json.loads(done.out)["partners"][0]["calls"] == 1
    assert "the store keeps no deliveries from before (RETENTION_DAYS)" in done.err
    assert "refused requests, and callbacks after the end of their run, are kept for 7 days only" in done.err


def test_it_says_when_more_was_there_than_it_reads(answering: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.cli.partner.stats.read_stats", partial(read_stats, most=10))
    err = on(answering, "partner", "stats").err
    assert "calls of all partners were read: those after 20" in err
    assert "deliveries of all partners were read: those after 20" in err


def test_only_the_most_frequent_refusals_are_printed(database: Database) -> None:
    unknown: dict[str, Any] = {"workflow_id": "", "chain_id": "", "stage": 0, "attempt": 0, "says": ""}
    Archive(database).add(
        [
            delivery(**unknown, id=f"{n}-{m}", verdict="unproven", reason=f"reason-{n}", status=401)
            for n in range(12)
            for m in range(n + 1)
        ]
    )
    lines = [cells(line) for line in on(database, "partner", "stats", "bank").out.splitlines()]
    assert lines[-12:-10] == ["refused 78", "12 unproven: reason-11"]
    assert lines[-1] == "and 2 other reasons: `stagehook partner stats bank --json`"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0ms"),
        (0.85, "850ms"),
        (1.0, "1s"),
        (59.96, "60s"),
        (99, "1.65m"),
        (600, "10m"),
        (6 * HOUR, "6h"),
        (36 * HOUR, "1.5d"),
        (120 * DAY, "120d"),
        (1234 * DAY, "1230d"),
    ],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert short_duration(seconds) == text


def stats_of(local: Local, name: str) -> dict[str, Any]:
    [found] = said(local.command("partner", "stats", name, "--json", "--since", "1d"))["partners"]
    return dict(found)


def test_a_callback_through_the_door_is_a_time(local: Local) -> None:
    """The bank of this system answers nothing by itself."""
    before = stats_of(local, "bank")
    given = '{"full_name": "Ada Lovelace", "date_of_birth": "1990-01-01", "iban": "DE02120300000000202051"}'
    assert local.command("pipeline", "start", "onboarding", "--id", "timed", "--input", given).returncode == 0
    until(local, "timed", 2, lambda stage: stage["state"] == "waiting")
    eventually(lambda: stats_of(local, "bank")["waiting"] > before["waiting"])
    url = local.command("token", "issue", "timed", "2").stdout
    sent = local.command("partner", "send", "-", "--data", '{"account_id": "a-1"}', given=url)
    assert sent.returncode == 0
    after = eventually(lambda: (found := stats_of(local, "bank"))["answered"] > before["answered"] and found)
    assert after["calls"] > before["calls"]
    assert after["times"]["p50"] > 0
    assert stats_of(local, "identity")["stages"][0]["name"] == "identity-check"
