"""`stagehook pipeline` and `stagehook token issue` beside a local system: start, show, advance and answer runs."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import respx
import sqlalchemy as sa
from temporalio.client import Client

from activities.callback_urls import CallbackURLs, Claims
from activities.environment import Environment
from activities.partners import PARTNERS, sandbox
from activities.partners.partner import Partner
from activities.signatures import SCHEMES
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.cli.demo.running import INPUT
from receiver.sending.unmatched import unmatched_row
from tests.local_stack import Local
from tests.parts.deliveries import delivery
from tests.parts.endings import refused, said
from tests.parts.onboarding_runs import ONBOARD, start_run, wait_for_stage
from workflows.contract import PIPELINE_WORKFLOW, Answer


def test_a_run_is_started_shown_listed_and_advanced(local: Local) -> None:
    """The bank never answers; advanced past, nothing of its own is missed, and the run goes on."""
    start_run(local, "first")
    shown = local.command("pipeline", "show", "first").stdout.decode()
    assert "account-check" in shown
    assert "waiting" in shown
    assert "first" in [run["workflow_id"] for run in said(local.command("pipeline", "list", "--json"))]
    assert "onboarding" in local.command("pipeline", "list").stdout.decode()
    said_by = ("--actor", "ada", "--reason", "the bank wrote a letter")
    assert local.command("pipeline", "advance", "first", "2", *said_by).returncode == 0
    watched = local.command("pipeline", "watch", "first")
    assert watched.returncode == 0
    assert "advanced (operator)" in watched.stdout.decode()
    told = local.command("pipeline", "show", "first").stdout.decode()
    assert "advance, by ada: the bank wrote a letter" in told
    for verb in ("advance", "cancel"):
        args = ["pipeline", verb, "first", *(["1"] if verb == "advance" else [])]
        assert "has ended: completed" in refused(local.command(*args), 1)


@pytest.mark.system
def test_a_run_that_failed_says_why_wherever_it_is_shown(local: Local) -> None:
    given = {**INPUT, "full_name": "play:never"}
    said(local.command("pipeline", "start", "onboarding", "--id", "missing", "--input", json.dumps(given), "--json"))
    wait_for_stage(local, "missing", 1)
    assert local.command("pipeline", "advance", "missing", "1").returncode == 0
    watched = local.command("pipeline", "watch", "missing")
    reason = "needs identity-check.legal_name: stage identity-check advanced without it"
    assert watched.returncode == 3
    assert reason in watched.stderr.decode()
    assert reason in local.command("pipeline", "show", "missing").stdout.decode()
    assert reason in said(local.command("pipeline", "show", "missing", "--json"))["failure"]


@pytest.mark.system
def test_a_call_that_no_worker_takes_says_what_it_waits_for(local: Local) -> None:
    stage = {"number": 1, "name": "only", "partner": "sandbox", "timeout": 60}
    given = {"pipeline": {"name": "unheard", "stages": [stage]}}

    async def begin() -> None:
        client = await Client.connect(local.stack.address)
        await client.start_workflow(PIPELINE_WORKFLOW, given, id="unheard", task_queue="stagehook")

    asyncio.run(begin())
    deadline = time.monotonic() + 60
    while "waits: no worker has asked for tasks" not in local.command("pipeline", "show", "unheard").stdout.decode():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_url_is_issued_for_an_open_stage_only(local: Local) -> None:
    start_run(local, "issued")
    url = said(local.command("token", "issue", "issued", "2", "--json"))["url"]
    assert said(local.command("token", "inspect", url, "--json"))["stage"] == 2
    refused(local.command("token", "issue", "issued", "1"), 4)
    refused(local.command("token", "issue", "issued", "3"), 4)
    body = json.dumps({"type": "verification.verified", "data": {"account_id": "a"}})
    sent = local.command("partner", "send", url, "--body", "-", given=body.encode())
    assert sent.stdout.decode().startswith("202 ")
    assert local.command("pipeline", "watch", "issued").returncode == 0


def known_by_reference(environment: Environment) -> Partner:
    signature = SCHEMES["github"](secrets=["secret"])
    return replace(sandbox.partner("bank", environment), stage_by="reference", signature=signature)


@pytest.mark.system
def test_a_reference_by_hand_is_matched_with_what_came_early(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    start_run(local, "referred")
    early = delivery(workflow_id="", stage=0, attempt=0, verdict="unmatched", reference="ref-1", chain_id="")
    answer = Answer("succeeded", data={"account_id": "a"})
    with Database(local.stack.environment["DATABASE_URL"]).begin() as connection:
        connection.execute(sa.insert(DELIVERIES).values(unmatched_row(early, answer)))
    monkeypatch.setitem(PARTNERS, "bank", known_by_reference)
    done = local.command("pipeline", "reference", "referred", "2", "ref-1")
    assert (done.returncode, "ref-1 is bank's id" in done.stderr.decode()) == (0, True), done.stderr
    assert local.command("pipeline", "watch", "referred").returncode == 0


@pytest.mark.system
@respx.mock
def test_the_partners_id_for_a_callback_by_hand_is_asked_for(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    start_run(local, "id-asked")
    url = said(local.command("token", "issue", "id-asked", "2", "--json"))["url"]
    known = said(local.command("pipeline", "show", "id-asked", "--json"))["progress"]["stages"][1]["reference"]
    taken = respx.post(f"{local.stack.public_url}/partners/bank").respond(202)
    made = replace(known_by_reference(Environment({})), sample_event=lambda answer, reference: reference.encode())
    monkeypatch.setitem(PARTNERS, "bank", lambda environment: made)
    assert local.command("partner", "send", url).returncode == 0
    assert (taken.calls.last.request.content.decode(), known != "") == (known, True)


@pytest.mark.system
def test_a_reference_that_no_stage_can_have_is_refused(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    start_run(local, "unreferred")
    words = ("pipeline", "reference", "unreferred")
    assert "by their url, not by a reference" in refused(local.command(*words, "2", "ref-2"), 2)
    monkeypatch.setitem(PARTNERS, "bank", known_by_reference)
    assert "DATABASE_URL is not set" in refused(local.command(*words, "2", "ref-2", DATABASE_URL=""), 2)
    assert "no open stage 1" in refused(local.command(*words, "1", "ref-2"), 4)
    assert "no stage 3 whose partner was called" in refused(local.command(*words, "3", "ref-2"), 4)
    assert "REF is empty" in refused(local.command(*words, "2", " "), 2)
    monkeypatch.delitem(PARTNERS, "bank")
    assert "no usable partner 'bank'" in refused(local.command(*words, "2", "ref-2"), 1)


@pytest.mark.system
def test_start_and_wait_exits_3_when_the_run_fails(local: Local) -> None:
    done = local.command("pipeline", "start", "onboarding", "--wait", "--id", "waits", "--json", given=b"")
    assert done.returncode == 2
    start_run(local, "waits")
    assert "say --yes" in refused(local.command("pipeline", "cancel", "waits"), 2)
    words = ("pipeline", "cancel", "waits", "--yes", "--actor", "ada", "--reason", "the order was withdrawn")
    assert local.command(*words).returncode == 0
    watched = local.command("pipeline", "watch", "waits", "--json")
    assert watched.returncode == 3
    last = json.loads(watched.stdout.splitlines()[-1])
    assert last["status"] == "canceled"
    assert last["progress"]["stages"][1]["cause"] == "cancelled"
    told = local.command("pipeline", "show", "waits").stdout.decode()
    assert "request to cancel the run: cancelled by ada: the order was withdrawn" in told


def test_an_operator_can_answer_for_a_partner(local: Local, tmp_path: Path) -> None:
    """The whole way by hand: the URL from the partner's side, sent by `partner send`, and the run goes on."""
    given = tmp_path / "input.json"
    given.write_text(json.dumps(INPUT))
    said(local.command("pipeline", "start", "onboarding", "--id", "answered", "--input", f"@{given}", "--json"))
    stage = wait_for_stage(local, "answered", 2)
    run = said(local.command("pipeline", "show", "answered", "--json"))
    claims = Claims(
        "answered", run["progress"]["chain_id"], 2, 1, "bank", int(stage["called_at"]), int(stage["called_at"]) + 10**7
    )
    url = CallbackURLs(local.stack.public_url, [local.stack.environment["CALLBACK_KEYS"]]).issue(claims)
    sent = local.command("partner", "send", url, "--data", '{"account_id": "by-hand"}', "--times", "3", "--json")
    assert [answer["status"] for answer in said(sent)] == [202, 202, 202]
    watched = local.command("pipeline", "watch", "answered")
    assert watched.returncode == 0, watched.stderr
    outcome = said(local.command("pipeline", "show", "answered", "--json"))["progress"]["stages"][1]
    assert (outcome["outcome"], outcome["cause"]) == ("succeeded", "callback")


def test_input_may_come_from_stdin(local: Local) -> None:
    done = local.command("pipeline", "start", "onboarding", "--input", "-", given=json.dumps(INPUT).encode())
    assert done.returncode == 0
    assert done.stdout.decode().startswith("onboarding-")


@pytest.mark.parametrize("given", ["{", "[]", "@/nowhere/at/all", '{"a": NaN}', "{}"])
def test_wrong_input_is_a_usage_error(local: Local, given: str) -> None:
    refused(local.command("pipeline", "start", "onboarding", "--input", given), 2)


def test_an_id_that_is_taken_is_told(local: Local) -> None:
    start_run(local, "taken")
    assert "is open" in refused(local.command(*ONBOARD, "--id", "taken"), 1)


@pytest.mark.parametrize("verb", [["show", "no"], ["watch", "no"], ["advance", "no", "1"], ["cancel", "no"]])
def test_a_run_that_does_not_exist_exits_4(local: Local, verb: list[str]) -> None:
    assert "no open or recent run has the id no" in refused(local.command("pipeline", *verb), 4)


def test_an_unknown_pipeline_exits_4_and_names_the_known_ones(local: Local) -> None:
    assert "onboarding" in refused(local.command("pipeline", "start", "unheard-of"), 4)


def test_a_stage_that_does_not_exist_is_not_signalled(local: Local) -> None:
    start_run(local, "stages")
    for number in ("0", "5", "99"):
        assert "stages 1 to 4" in refused(local.command("pipeline", "advance", "stages", number), 4)


@pytest.mark.parametrize("args", [["pipeline", "list"], ["pipeline", "show", "x"], ["pipeline", "advance", "x", "1"]])
def test_temporal_away_exits_7(local: Local, args: list[str], unused_port: int) -> None:
    done = local.command(*args, TEMPORAL_ADDRESS=f"127.0.0.1:{unused_port}")
    assert f"127.0.0.1:{unused_port}" in refused(done, 7)


def test_a_namespace_that_is_missing_exits_7(local: Local) -> None:
    refused(local.command("pipeline", "show", "x", TEMPORAL_NAMESPACE="missing"), 7)
