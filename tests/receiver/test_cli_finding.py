"""Listing runs by what they wait for, and starting a class like a pipeline, on a whole local system."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

from tests.local_stack import Local, eventually
from tests.parts.endings import refused, said
from tests.parts.temporal import BINARIES
from workflows.pipelines import REVIEWED_ONBOARDING

DECLINED = {"full_name": "ada lovelace", "date_of_birth": "play:failing"}
NEVER = {"full_name": "play:never", "date_of_birth": "1815-12-10"}


def listed(local: Local, *filters: str) -> list[str]:
    return [run["workflow_id"] for run in said(local.command("pipeline", "list", *filters, "--json"))]


def since_now() -> list[str]:
    """The filter for what begins from now on: other tests have runs in the same system."""
    return ["--since", datetime.now(UTC).isoformat()]


def test_a_class_is_started_shown_and_listed_like_a_pipeline(local: Local) -> None:
    name, since = REVIEWED_ONBOARDING.name, since_now()
    words = ["pipeline", "start", name, "--id", "reviewed", "--input", json.dumps(DECLINED), "--wait"]
    assert local.command(*words).returncode == 0
    shown = said(local.command("pipeline", "show", "reviewed", "--json"))["progress"]
    assert [(stage["name"], stage["outcome"]) for stage in shown["stages"]] == [
        ("identity-check", "failed"),
        ("manual-review", "succeeded"),
        ("card", "succeeded"),
    ]
    assert shown["pipeline"] == name
    eventually(lambda: "reviewed" in listed(local))
    eventually(lambda: listed(local, "--pipeline", name, *since) == ["reviewed"])
    assert listed(local, "--pipeline", name, "--partner", "identity", *since) == []
    words = ["delivery", "list", "--pipeline", name, *since, "--json"]
    deliveries = eventually(lambda: said(local.command(*words)))
    assert {delivery["workflow_id"] for delivery in deliveries} == {"reviewed"}


def test_open_runs_are_listed_by_their_partner_and_state(local: Local) -> None:
    since = since_now()
    words = ["pipeline", "start", REVIEWED_ONBOARDING.name, "--id", "unanswered", "--input", json.dumps(NEVER)]
    said(local.command(*words, "--json"))
    eventually(lambda: "unanswered" in listed(local, "--partner", "identity", "--state", "waiting"))
    assert "unanswered" not in listed(local, "--state", "needs_person")
    assert "unanswered" not in listed(local, "--overdue")
    (run,) = said(
        local.command("pipeline", "list", "--partner", "identity", "--waiting", *since, "--limit", "1", "--json")
    )
    assert [(wait["stage"], wait["partner"]) for wait in run["waits"]] == [("identity-check", "identity")]
    assert said(local.command("pipeline", "count", "--partner", "identity", *since, "--json")) == {
        "runs": 1,
        "by_status": {"running": 1},
        "by_partner": {"identity": {"waiting": 1, "overdue": 0, "needing_person": 0}},
    }
    counted = (
        local.command("pipeline", "count", "--waiting", "--partner", "identity", *since).stdout.decode().splitlines()
    )
    assert (counted[0], counted[-1].split()) == ("1 run: 1 running", ["identity", "1", "0", "0"])
    assert "by_partner" not in said(local.command("pipeline", "count", "--json"))
    none = local.command("pipeline", "list", "--partner", "unknown")
    assert (none.returncode, none.stdout) == (0, b"")
    assert b"no run matches" in none.stderr


def test_the_most_urgent_runs_are_listed_first(local: Local) -> None:
    """Of two runs of a pipeline, the older has the earlier deadline; a list of all runs begins with the latest."""
    for name in ("urgent-1", "urgent-2"):
        words = ["pipeline", "start", REVIEWED_ONBOARDING.name, "--id", name, "--input", json.dumps(NEVER), "--json"]
        said(local.command(*words))
        eventually(lambda name=name: name in listed(local, "--waiting"))  # type: ignore[misc]
    by_urgency = [name for name in listed(local, "--waiting") if name.startswith("urgent")]
    assert by_urgency == ["urgent-1", "urgent-2"]
    assert listed(local, "--limit", "1") == ["urgent-2"]
    cut = local.command("pipeline", "list", "--stage", "identity-check", "--limit", "1")
    assert b"the most urgent 1 of " in cut.stderr


def test_setup_changes_nothing_that_is_there(local: Local) -> None:
    for _ in range(2):
        done = local.command("setup")
        assert (done.returncode, done.stdout) == (0, b"")
        assert b"the namespace default has all search attributes" in done.stderr


def test_a_filter_without_attributes_says_what_to_do(local: Local) -> None:
    """In a namespace of its own, which setup then prepares."""
    create = ["operator", "namespace", "create", "--namespace", "bare", "--address", local.stack.address]
    subprocess.run([BINARIES / "temporal", *create], check=True, capture_output=True, timeout=60)
    there = replace(local.stack, environment={**local.stack.environment, "TEMPORAL_NAMESPACE": "bare"})
    bare = replace(local, stack=there)
    said_there = eventually(lambda: (done := bare.command("pipeline", "list", "--overdue")).returncode == 1 and done)
    text = refused(said_there, 1)
    assert "the namespace bare lacks the search attributes StagehookPipeline, StagehookStage" in text
    assert "stagehook setup" in text
    assert bare.command("pipeline", "list").returncode == 0
    assert b"registered in the namespace bare: StagehookPipeline" in bare.command("setup").stderr
    eventually(lambda: bare.command("pipeline", "list", "--overdue").returncode == 0)
