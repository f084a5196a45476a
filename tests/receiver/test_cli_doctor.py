"""`stagehook doctor` names what is wrong, with a fix."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import respx
from temporalio.common import SearchAttributeKey

from activities.partners import PARTNERS, sandbox
from activities.partners.partner import PartnerFactory
from tests.local_stack import Local
from tests.parts.partner_list import list_only
from tests.support import RUN_TIMEOUT
from workflows.contract import Stage
from workflows.finding import ATTRIBUTES
from workflows.pipelines import ONBOARDING


def test_the_doctor_is_green_beside_a_local_system(local: Local) -> None:
    subjects = ("settings", "temporal", "store", "keys", "partners", "lanes", "public url", "clock")
    deadline = time.monotonic() + RUN_TIMEOUT
    while True:
        done = local.command("doctor", "--json")
        found = {finding["subject"]: finding["ok"] for finding in json.loads(done.stdout) if finding["fix"] == ""}
        if "lanes" in found or time.monotonic() > deadline:  # the worker may have begun to poll them just now
            break
    assert found == dict.fromkeys(subjects, True)
    notes = [finding for finding in json.loads(done.stdout) if finding["note"]]
    assert [note["subject"] for note in notes] == ["public url"]
    assert "loopback" in notes[0]["says"]
    assert done.returncode == 0


def test_the_doctor_refuses_loopback_beside_a_real_partner(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTNERS, "bank", lambda env: replace(sandbox.partner("bank", env), loopback_only=False))
    done = local.command("doctor")
    assert done.returncode == 1
    assert "WRONG public url" in done.stdout.decode()


def test_the_doctor_only_notes_a_pipeline_without_partners(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    unused = replace(ONBOARDING, name="unused", stages=[Stage(number=1, name="pay", partner="payments", timeout=1.0)])
    monkeypatch.setattr("receiver.cli.doctor.checks.PIPELINES", {"onboarding": ONBOARDING, "unused": unused})
    done = local.command("doctor")
    assert done.returncode == 0
    assert "note  partners   pipeline unused cannot run: none of its partners is enabled" in done.stdout.decode()


def test_the_doctor_notes_missing_search_attributes(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    more = [*ATTRIBUTES, SearchAttributeKey.for_keyword("StagehookAbsent")]
    monkeypatch.setattr("activities.finding.ATTRIBUTES", more)
    done = local.command("doctor")
    assert done.returncode == 0
    assert "note  temporal   the namespace lacks search attributes: StagehookAbsent" in done.stdout.decode()


@pytest.mark.parametrize(("apart", "code"), [(0, 0), (600, 1)])
def test_the_doctor_compares_a_public_receivers_clock(
    local: Local, monkeypatch: pytest.MonkeyPatch, apart: int, code: int
) -> None:
    def solid(name: str) -> PartnerFactory:
        return lambda env: replace(sandbox.partner(name, env), loopback_only=False)

    list_only(monkeypatch, {name: solid(name) for name in PARTNERS})
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=apart), usegmt=True)
    with respx.mock:
        respx.get("https://hooks.test/healthz").respond(200, text='{"alive":true}', headers={"Date": date})
        done = local.command("doctor", PUBLIC_URL="https://hooks.test", ALLOW_SQLITE="1")
    assert done.returncode == code, done.stdout
    assert ("WRONG clock" in done.stdout.decode()) == bool(apart)


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"CALLBACK_KEYS": "weak"}, "settings"),
        ({"PUBLIC_URL": "https://127.0.0.1:9"}, "public url"),
        ({"PARTNERS": "bank"}, "partners"),
        ({"DATABASE_URL": "postgres://u:p@127.0.0.1:9/x"}, "store"),
        ({"DATABASE_URL": "sqlite:////nonexistent/x.db"}, "store"),
        ({"TEMPORAL_NAMESPACE": "missing"}, "temporal"),
        ({"TEMPORAL_ADDRESS": "127.0.0.1:9"}, "temporal"),
        ({"TEMPORAL_ADDRESS": "nowhere"}, "temporal"),
    ],
)
def test_the_doctor_names_what_is_wrong_with_a_fix(local: Local, change: dict[str, str], subject: str) -> None:
    done = local.command("doctor", given=b"", **change)
    wrong = [line for line in done.stdout.decode().splitlines() if line.startswith("WRONG")]
    assert done.returncode == 1
    assert any(line.split()[1:][: len(subject.split())] == subject.split() and "; try: " in line for line in wrong)
