"""Statistics of partners, from calls and deliveries with known times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from activities.store.calls import NotedCall
from activities.store.database import Database
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.partner_stats import (
    PartnerStats,
    Percentiles,
    StageStats,
    Stats,
    read_stats,
    suggested_deadline,
)
from receiver.deliveries.received_counts import Refusals
from tests.parts.deliveries import delivery
from tests.parts.known_calls import NOW, call, callback, note
from workflows.durations import DAY, HOUR, MINUTE

pytestmark = pytest.mark.system

WEEK = 7 * DAY


def stats(database: Database, partner: str = "", **options: Any) -> Stats:
    with database.begin() as connection:
        return read_stats(connection, **{"since": NOW - WEEK, "now": NOW, "partner": partner, **options})


def bank(database: Database, **options: Any) -> PartnerStats:
    [found] = stats(database, "bank", **options).partners
    return found


def stage(database: Database) -> StageStats:
    [found] = bank(database).stages
    return found


def answered(count: int, *, ago: float = HOUR, **claims: Any) -> tuple[list[NotedCall], list[Delivery]]:
    """Calls that were called back after 1, 2, 3 and so on seconds."""
    calls = [call(f"answered-{n}", ago, **claims) for n in range(1, count + 1)]
    return calls, [callback(one, n) for n, one in enumerate(calls, 1)]


def test_percentiles_are_those_of_the_known_times(database: Database) -> None:
    note(database, *answered(200))
    found = stage(database)
    assert (found.pipeline, found.stage, found.name, found.timeout) == ("onboarding", 2, "account-check", 6 * HOUR)
    assert (found.calls, found.answered, found.waiting, found.late) == (200, 200, 0, 0)
    assert found.times == bank(database).times == Percentiles(100.0, 190.0, 198.0)
    assert found.suggested == 10 * MINUTE  # twice 198 s, rounded up


@pytest.mark.parametrize(
    ("durations", "percentiles"),
    [([], (None, None, None)), ([7.0], (7.0, 7.0, 7.0)), ([3.0, 1.0, 2.0], (2.0, 3.0, 3.0))],
)
def test_percentiles_are_of_the_nearest_rank(durations: list[float], percentiles: tuple[float | None, ...]) -> None:
    assert Percentiles.of(durations) == Percentiles(*percentiles)


@pytest.mark.parametrize(
    ("p99", "count", "deadline"),
    [
        (None, 0, None),
        (60.0, 19, None),
        (1.0, 20, 5 * MINUTE),
        (3 * MINUTE, 20, 10 * MINUTE),
        (HOUR, 1000, 2 * HOUR),
        (HOUR + 1, 1000, 3 * HOUR),
        (2 * DAY, 50, 4 * DAY),
        (44 * DAY, 50, 90 * DAY),
        (50 * DAY, 50, 120 * DAY),
    ],
)
def test_the_suggested_deadline_is_twice_the_p99(p99: float | None, count: int, deadline: float | None) -> None:
    assert suggested_deadline(Percentiles(p99, p99, p99), count) == deadline


def test_the_first_result_of_a_call_counts(database: Database) -> None:
    """Whatever else comes before and after it."""
    one = call("1", HOUR)
    news = callback(one, 5, says="progress")
    again = callback(one, 30, verdict="duplicate", fate=Fate.NONE)
    forged = callback(one, 1, verdict="unproven", status=401, says="")
    put_off = callback(one, 2, verdict="too_many", status=429)
    note(database, [one], [again, news, callback(one, 20), forged, put_off])
    found = bank(database)
    assert found.times == Percentiles(20.0, 20.0, 20.0)
    assert (found.answered, found.duplicates, found.last_heard) == (1, 1, one.called_at + 30)


def test_a_callback_counts_for_its_own_call_only(database: Database) -> None:
    first, second = call("1", 2 * HOUR), call("1", HOUR, attempt=2)
    note(database, [first, second, call("2", HOUR)], [callback(second, 60)])
    found = stage(database)
    assert (found.calls, found.answered, found.waiting) == (3, 1, 1)
    assert found.times.p50 == 60.0


def test_a_callback_that_only_asks_us_to_ask_counts(database: Database) -> None:
    one = call("1", HOUR)
    note(database, [one], [callback(one, 5, says="ask"), callback(one, 50, says="ask")])
    assert (stage(database).times.p50, stage(database).waiting) == (50.0, 0)


def test_clocks_that_differ_make_no_negative_times(database: Database) -> None:
    one = call("1", HOUR)
    note(database, [one], [callback(one, -2)])
    assert stage(database).times.p50 == 0.0


def test_late_callbacks_are_counted_and_are_part_of_the_times(database: Database) -> None:
    """After the stage's timeout, or when the run was over. Without them the suggested deadline would be too short."""
    calls = [call(n, DAY) for n in range(4)]
    over = callback(calls[2], 10, verdict="gone", status=410, fate=Fate.REFUSED)
    promised = callback(calls[3], 11, fate=Fate.REFUSED)
    note(database, calls, [callback(calls[0], 5), callback(calls[1], 6 * HOUR + 1), over, promised])
    found = stage(database)
    assert (found.calls, found.answered, found.late) == (4, 4, 3)
    assert found.times == Percentiles(10.0, 6 * HOUR + 1, 6 * HOUR + 1)


def test_a_stage_waits_for_its_latest_call(database: Database) -> None:
    """Unless an earlier call was answered meanwhile, its run has called a later stage, or its policies must be done."""
    retried = [call("retried", 3 * HOUR), call("retried", 2 * HOUR, attempt=2)]
    settled = [call("settled", 3 * HOUR), call("settled", 2 * HOUR, attempt=2)]
    went_on = [call("went-on", 3 * HOUR), call("went-on", 2 * HOUR, stage=3, partner="esign")]
    at_once = [call("beside", HOUR), call("beside", HOUR, stage=3, partner="esign")]
    at_once += [call("beside", HOUR / 2, stage=3, partner="esign", attempt=2)]
    over = [call("over", 3 * HOUR, expires_at=int(NOW + 30 * DAY - HOUR))]
    note(database, [*retried, *settled, *went_on, *at_once, *over], [callback(settled[0], 1.5 * HOUR)])
    assert stage(database).waiting == 2  # of `retried` and `beside`
    assert [(one.partner, one.waiting) for one in stats(database).partners] == [("bank", 2), ("esign", 2)]


@pytest.mark.parametrize("says", ["failed", "ask", "progress"])
def test_only_a_success_of_an_earlier_call_settles(database: Database, says: str) -> None:
    """Any other callback of an earlier call goes to the ledger. Five stages stay open, and their partner is silent."""
    first = [call(n, 3 * DAY) for n in range(5)]
    latest = [call(n, 2 * DAY, attempt=2) for n in range(5)]
    late = [callback(one, 1.1 * DAY, says=says) for one in first]
    note(database, [*first, *latest], late)
    found = stage(database)
    assert (found.waiting, found.overdue, bank(database).is_silent) == (5, 5, True)
    refused = callback(first[1], 1.6 * DAY, verdict="conflict", status=409, fate=Fate.NONE)
    ended = callback(first[2], 1.6 * DAY, says=says, verdict="gone", status=410, fate=Fate.REFUSED)
    note(database, [call("another", HOUR)], [callback(first[0], 1.6 * DAY), refused, ended])
    assert (stage(database).waiting, stage(database).overdue) == (4, 3)


def test_calls_overdue_wait_longer_than_the_p99(database: Database) -> None:
    calls, callbacks = answered(100)
    waiting = [call("new", 98), call("older", 100), call("oldest", DAY)]
    note(database, [*calls, *waiting], callbacks)
    assert (stage(database).waiting, stage(database).overdue) == (3, 2)


def test_without_callbacks_calls_are_overdue_by_the_timeout(database: Database) -> None:
    note(database, [call("1", 5 * HOUR), call("2", 7 * HOUR), call("3", DAY, pipeline="unknown")])
    known, unknown = bank(database).stages
    assert (known.waiting, known.overdue, known.suggested) == (2, 1, None)
    assert (unknown.waiting, unknown.overdue, unknown.name, unknown.timeout) == (1, 0, "", None)


@pytest.mark.parametrize(("callbacks", "overdue"), [(1, 0), (4, 0), (5, 5)])
def test_a_few_callbacks_do_not_make_a_partner_silent(database: Database, callbacks: int, overdue: int) -> None:
    """They came within seconds; five calls wait for an hour, and have five more until their timeout."""
    calls, answers = answered(callbacks)
    note(database, [*calls, *(call(f"w{n}", HOUR) for n in range(5))], answers)
    assert (bank(database).overdue, bank(database).is_silent) == (overdue, bool(overdue))


@pytest.mark.parametrize(
    ("overdue", "heard", "is_silent"),
    [(5, 2 * HOUR, True), (4, 2 * HOUR, False), (5, HOUR - 200, False), (5, None, True)],
    ids=["silent", "four-only", "heard-since", "never-heard"],
)
def test_silent_with_five_overdue_and_nothing_since(
    database: Database, overdue: int, heard: float | None, *, is_silent: bool
) -> None:
    """heard: seconds ago. The five became overdue 3500 s ago, by the p99 of 100 s, or two hours ago by the timeout."""
    calls, callbacks = answered(100, ago=heard + 100) if heard else ([], [])
    waiting = [call(n, HOUR if heard else 8 * HOUR) for n in range(overdue)]
    note(database, [*calls, *waiting], callbacks)
    assert bank(database).overdue == overdue
    assert bank(database).is_silent is is_silent


def test_refused_requests_are_counted_by_reason(database: Database) -> None:
    at = NOW - HOUR
    unknown: dict[str, Any] = {"workflow_id": "", "chain_id": "", "stage": 0, "attempt": 0, "says": ""}
    forged = [delivery(**unknown, received_at=at, verdict="unproven", reason="mismatch", status=401) for _ in range(2)]
    stale = delivery(**unknown, received_at=at, verdict="unproven", reason="too-old", status=401)
    conflict = delivery(received_at=at - 1, verdict="conflict", status=409)
    elsewhere = [
        replace(stale, id="of-another", partner="esign"),
        replace(stale, id="of-none", partner=""),
        replace(stale, id="before", received_at=NOW - WEEK - 1),
    ]
    several = [delivery(**unknown, received_at=at - 2, verdict=verdict) for verdict in ("duplicate", "conflict")]
    Archive(database).add([*forged, stale, conflict, *elsewhere, *several])
    found = bank(database)
    expected = {("unproven", "mismatch", 2), ("unproven", "too-old", 1), ("conflict", "", 1)}
    assert set(found.refused) == {Refusals(*one) for one in expected}
    assert found.refused[0].count == 2
    assert (found.duplicates, found.conflicts, found.last_heard, found.last_call) == (0, 1, at - 1, None)


def test_a_closed_url_is_heard_only_if_its_callback_was_read(database: Database) -> None:
    """An expired token is refused before the body is read, so its sender is not proven."""
    gone: dict[str, Any] = {"verdict": "gone", "status": 410}
    unread = delivery(received_at=NOW - 10, says="", **gone)
    Archive(database).add([delivery(received_at=NOW - 20, **gone), replace(unread, id="unread")])
    assert bank(database).last_heard == NOW - 20


def test_a_partner_is_heard_by_the_callbacks_of_its_calls(database: Database) -> None:
    """Where others have sent so much since then that its deliveries are not read."""
    one = call("1", HOUR)
    others = [delivery(id=f"{n}", partner="esign", received_at=NOW - n) for n in range(3)]
    note(database, [one], [callback(one, 5), *others])
    assert bank(database, most=2).last_heard == one.called_at + 5


def test_parked_deliveries_count_whatever_their_age(database: Database) -> None:
    Archive(database).add([delivery(id=id_, received_at=NOW - 30 * DAY, fate=Fate.PARKED) for id_ in ("a", "b")])
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE deliveries SET callback = '{}' WHERE id = 'a'"))
    assert bank(database).parked == 1  # the other was imported


def test_more_than_can_be_read_is_said(database: Database) -> None:
    calls = [call(n, 100 - n) for n in range(10)]
    note(database, calls, [callback(one, 1) for one in calls])
    read = stats(database, most=4)
    assert (read.partners[0].calls, read.calls_cut_at, read.deliveries_cut_at) == (4, NOW - 95, NOW - 94)
    whole = stats(database, most=10)
    assert (whole.partners[0].calls, whole.calls_cut_at, whole.deliveries_cut_at) == (10, None, None)


def test_only_calls_of_the_time_are_read(database: Database) -> None:
    calls = [call("old", WEEK + 1), call("new", WEEK - 1)]
    note(database, calls, [callback(calls[0], WEEK)])
    found = bank(database)
    assert (found.calls, found.answered, found.last_call) == (1, 0, NOW - WEEK + 1)
    assert found.last_heard == NOW - 1
