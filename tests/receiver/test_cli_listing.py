"""The list of runs as an operator reads it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from activities.finding import RunFilter, failed_since
from activities.listing import OpenStages, Run, Wait
from receiver.cli.pipeline import filters, listing, pipeline
from receiver.cli.pipeline.listing import _print_table, _rows
from receiver.telling.moments import span
from workflows.finding import OPEN_STATES

NOW = 1_790_000_000.0
WAIT = Wait(2, "account-check", "bank", "waiting", NOW - 7_500, NOW - 300, 3, "timeout: no callback")


def run_of(status: str = "running", closed: float | None = None) -> Run:
    started = datetime.fromtimestamp(NOW - 90_000, UTC)
    return Run("run-1", "r", "onboarding", status, started, datetime.fromtimestamp(closed, UTC) if closed else None)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0s"), (0, "0s"), (42.9, "42s"), (310, "5m 10s"), (7_200, "2h"), (183_600, "2d 3h"), (86_405, "1d")],
)
def test_a_span_has_its_two_largest_units(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_each_open_stage_has_a_line_of_its_own() -> None:
    person = Wait(3, "", "", "needs_person", None, NOW + 600, 0, "")
    assert _rows(run_of(), [WAIT, person], NOW) == [
        (
            *("run-1", "onboarding", "waiting", "2 account-check", "bank", "3"),
            *("2h 5m ago", "5m overdue", "timeout: no callback"),
        ),
        ("run-1", "onboarding", "needs person", "3", "", "", "", "in 10m", ""),
    ]


def test_an_ended_and_a_silent_run_have_a_line_too() -> None:
    assert _rows(run_of("failed", NOW - 60), [], NOW)[0][2:7] == ("failed", "", "", "", "1m ago")
    assert _rows(run_of(), None, NOW)[0][2:7] == ("running", "?", "?", "", "1d 1h ago")


def test_without_a_worker_a_run_has_what_temporal_knows() -> None:
    known = OpenStages("needs_person", ["account-check", "card"], ["bank", "cards"], NOW - 300)
    assert _rows(replace(run_of(), open_stages=known), None, NOW) == [
        (
            *("run-1", "onboarding", "needs person", "account-check, card", "bank, cards", "?", "?"),
            *("5m overdue", "no worker answers"),
        )
    ]


def test_a_long_trouble_is_shortened_in_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    long = Wait(1, "check", "bank", "calling", NOW, None, 1, "x" * 500)
    _print_table([run_of()], {"r": [long]}, NOW)
    assert "x" * 117 + "..." in capsys.readouterr().out


def test_an_ended_run_waits_for_nothing_that_its_next_one_does(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was reset or started again has the workflow id of the execution before."""
    ended = replace(run_of("terminated", NOW - 60), run_id="before")
    _print_table([run_of(), ended], {"r": [WAIT]}, NOW)
    shown = capsys.readouterr().out
    assert (shown.count("account-check"), shown.count("terminated")) == (1, 1)


def filter_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> RunFilter:
    """The filter that the command makes of these words."""
    given: list[RunFilter] = []

    async def print_runs(_: int, where: RunFilter, **__: Any) -> None:
        given.append(where)

    monkeypatch.setattr(listing, "print_runs", print_runs)
    done = CliRunner().invoke(pipeline, ["list", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return given[0]


def test_the_options_become_one_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert filter_of(monkeypatch) == RunFilter()
    assert filter_of(monkeypatch, "--needs-person") == RunFilter(state="needs_person")
    words = ("--waiting", "--partner", "bank", "--stage", "card", "--pipeline", "onboarding")
    assert filter_of(monkeypatch, *words) == RunFilter("onboarding", "", "bank", "card", waiting=True)
    assert filter_of(monkeypatch, "--status", "failed").needs_attributes is False


def test_overdue_and_due_are_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they choose what is overdue, the narrower of the two."""
    now = datetime.now(UTC)
    due = filter_of(monkeypatch, "--due", "2h").due
    assert due
    assert timedelta(0) <= due - now - timedelta(hours=2) < timedelta(minutes=1)
    overdue = filter_of(monkeypatch, "--overdue", "--due", "2h").due
    assert overdue
    assert timedelta(0) <= overdue - now < timedelta(minutes=1)
    since = filter_of(monkeypatch, "--since", "2026-01-31T12:00").since
    assert since == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--failed-with", "x"], "give --since"),
        (["--failed-with", "x", "--since", "1d", "--partner", "bank"], "takes no other filter"),
        (["--needs-person", "--state", "waiting"], "give one of the two"),
        (["--due", "soon"], "invalid --due 'soon'"),
        (["--since", "999999w"], "--since '999999w'"),
        (["--partner", "\udcff"], "is not UTF-8"),
    ],
)
def test_filters_that_contradict_are_refused(words: list[str], why: str) -> None:
    for command in ("list", "count"):
        done = CliRunner().invoke(pipeline, [command, *words])
        assert done.exit_code == 2
        assert why in done.output


def test_conditions_of_the_filter_are_quoted() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    where = RunFilter("it's", "needs_person", "a", "b", waiting=True, due=moment, status="running", since=moment)
    assert where.query() == (
        "StagehookPipeline = 'it\\'s' AND ExecutionStatus = 'Running' AND StartTime >= '2026-01-31T12:00:00Z' "
        "AND ExecutionStatus = 'Running' AND StagehookState = 'needs_person' "
        "AND StagehookState IN ('calling', 'waiting', 'needs_person') AND StagehookPartner = 'a' "
        "AND StagehookStage = 'b' AND StagehookDeadline < '2026-01-31T12:00:00Z'"
    )


@pytest.mark.parametrize("year", [1, 110, 1970, 9999])
def test_a_moment_of_a_query_has_a_year_of_four_digits(year: int) -> None:
    """`--since 99999w` is in the year 110."""
    moment = datetime(year, 1, 31, 12, 0, 0, 7, tzinfo=UTC)
    assert RunFilter(since=moment).query() == f"StartTime >= '{year:04}-01-31T12:00:00Z'"
    assert failed_since(moment).endswith(f"CloseTime >= '{year:04}-01-31T12:00:00Z'")


def test_the_filters_know_every_state_of_an_open_stage() -> None:
    """They do not import Temporal for it."""
    assert sorted(filters.STATES) == sorted(OPEN_STATES)
