"""The `stagehook` command against a real local system: what it prints where, and every exit code."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import respx
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from temporalio.client import Client
from temporalio.common import SearchAttributeKey

from activities.callback_urls import CallbackURLs, Claims, fingerprint
from activities.environment import Environment
from activities.partners import PARTNERS, sandbox
from activities.partners.partner import Partner, PartnerFactory
from activities.signatures import SCHEMES
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.cli.demo.running import INPUT, PROJECT, next_commands
from receiver.sending.unmatched import unmatched_row
from tests.commands import command, run_alone
from tests.local_stack import Local, run_command
from tests.parts.deliveries import delivery
from tests.parts.endings import refused, said
from tests.parts.partner_list import list_only
from tests.support import KEY
from workflows.contract import PIPELINE_WORKFLOW, Answer, Stage
from workflows.finding import ATTRIBUTES
from workflows.pipelines import ONBOARDING

ONBOARD = ("pipeline", "start", "onboarding", "--input", json.dumps(INPUT))
CLAIMS = Claims("run", "chain", 2, 1, "bank", 1_790_000_000, 4_000_000_000)


def wait_for_stage(local: Local, workflow_id: str, number: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        stages = said(local.command("pipeline", "show", workflow_id, "--json"))["progress"]["stages"]
        if stages[number - 1]["state"] == "waiting":
            return dict(stages[number - 1])
        time.sleep(0.1)
    raise AssertionError(f"stage {number} does not wait")


def start_run(local: Local, workflow_id: str) -> None:
    assert said(local.command(*ONBOARD, "--id", workflow_id, "--json"))["workflow_id"] == workflow_id
    wait_for_stage(local, workflow_id, 2)


# --- runs


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
    while "waits: no worker takes calls to sandbox" not in local.command("pipeline", "show", "unheard").stdout.decode():
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


# --- tokens and partners


def test_a_token_is_inspected_bare_or_in_its_url() -> None:
    url = CallbackURLs("https://hooks.test", [KEY]).issue(CLAIMS)
    for form in (url, url.rpartition("/")[2]):
        shown = said(run_alone("token", "inspect", form, "--json", CALLBACK_KEYS=KEY))
        assert (shown["workflow_id"], shown["stage"], shown["partner"]) == ("run", 2, "bank")
        assert shown["idempotency_key"] == CLAIMS.idempotency_key
    assert "bank" in run_alone("token", "inspect", url, CALLBACK_KEYS=KEY).stdout.decode()


def test_a_bad_token_exits_5() -> None:
    url = CallbackURLs("https://hooks.test", [KEY]).issue(CLAIMS)
    for text in (url[:-1], "x", "https://hooks.test/callbacks/"):
        refused(run_alone("token", "inspect", text, CALLBACK_KEYS=KEY), 5)


def test_an_expired_token_exits_6_and_is_shown_all_the_same() -> None:
    url = CallbackURLs("https://hooks.test", [KEY]).issue(replace(CLAIMS, expires_at=1_790_000_001))
    done = run_alone("token", "inspect", url, "--json", CALLBACK_KEYS=KEY)
    assert done.returncode == 6
    assert json.loads(done.stdout)["workflow_id"] == "run"


def test_a_weak_key_is_refused_before_it_is_used() -> None:
    assert "CALLBACK_KEYS" in refused(run_alone("token", "inspect", "x", CALLBACK_KEYS="short"), 2)


def test_a_generated_key_is_one_that_settings_take() -> None:
    new = run_alone("key", "generate").stdout.decode().strip()
    listed = said(run_alone("key", "list", "--json", CALLBACK_KEYS=f"{new},{KEY}"))
    assert listed == [
        {"place": 1, "fingerprint": fingerprint(new), "signs": True},
        {"place": 2, "fingerprint": fingerprint(KEY), "signs": False},
    ]


def test_keys_rotate_in_two_phases() -> None:
    shown = run_alone("key", "rotate", CALLBACK_KEYS=KEY)
    first, second = shown.stdout.decode().splitlines()
    assert first.startswith(f"{KEY},")
    assert second == f"{first.removeprefix(f'{KEY},')},{KEY}"
    assert "phase 1" in shown.stderr.decode()
    assert "phase 2" in shown.stderr.decode()


def test_the_doctor_is_green_beside_a_local_system(local: Local) -> None:
    done = local.command("doctor", "--json")
    found = {finding["subject"]: finding["ok"] for finding in json.loads(done.stdout) if finding["fix"] == ""}
    subjects = ("settings", "temporal", "store", "keys", "partners", "lanes", "public url", "clock")
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


@pytest.mark.system
def test_partner_send_uses_the_partners_form_and_signature(local: Local) -> None:
    start_run(local, "by-hand")
    url = said(local.command("token", "issue", "by-hand", "2", "--json"))["url"]
    send = ("partner", "send", url, "--data", '{"account_id": "a"}')
    assert local.command(*send, "--no-sign").stdout.decode().startswith("401 ")
    without = local.command(*send, BANK_SECRET="")
    assert without.stdout.decode().startswith("401 ")
    assert "bank's callbacks are not signed: BANK_SECRET is not set" in without.stderr.decode()
    assert local.command(*send, CALLBACK_KEYS=KEY).stdout.decode().startswith("401 ")
    assert local.command(*send, "--status", "progress").stdout.decode().startswith("202 ")
    assert local.command(*send).stdout.decode().startswith("202 ")
    assert local.command("pipeline", "watch", "by-hand").returncode == 0


def test_a_partner_of_no_known_form_is_sent_a_whole_body(monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    monkeypatch.setitem(PARTNERS, "acme", PARTNERS["bank"])
    url = CallbackURLs(f"http://127.0.0.1:{unused_port}", [KEY]).issue(Claims("run", "chain", 1, 1, "acme", 1, 2**32))
    done = command("partner", "send", url, CALLBACK_KEYS=KEY)
    assert (done.code, "no form is known for callbacks of acme" in done.err) == (2, True)
    assert "--body" in done.err


def list_acme(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> tuple[str, ...]:
    """Add a partner `acme` with these parts; return the command that sends a callback of it."""
    monkeypatch.setitem(PARTNERS, "acme", lambda env: replace(sandbox.partner("acme", env), **parts))
    url = CallbackURLs("http://hooks.test", [KEY]).issue(replace(CLAIMS, partner="acme"))
    return ("partner", "send", url, "--body", "{}")


@respx.mock
def test_what_is_sent_by_hand_is_of_the_partners_media_type(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = respx.post(url__startswith="http://hooks.test/").respond(202)
    send = list_acme(monkeypatch, content_type="application/vnd.acme+json")
    for more in ((), ("--no-sign",)):
        assert command(*send, *more, CALLBACK_KEYS=KEY).code == 0
    types = [call.request.headers["content-type"] for call in taken.calls]
    assert types == ["application/vnd.acme+json"] * 2


@respx.mock
def test_what_only_the_partner_can_sign_is_sent_unsigned_only(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = respx.post(url__startswith="http://hooks.test/").respond(202)
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    send = list_acme(monkeypatch, signature=SCHEMES["discord"](secrets=[public]))
    done = command(*send, CALLBACK_KEYS=KEY)
    assert (done.code, taken.called) == (1, False)
    assert "acme cannot be signed" in done.err
    assert "private key" in done.err
    assert "--no-sign" in done.err
    assert command(*send, "--no-sign", CALLBACK_KEYS=KEY).code == 0


def test_sending_to_nobody_says_so(unused_port: int) -> None:
    done = run_alone("partner", "send", f"http://127.0.0.1:{unused_port}/callbacks/x")
    assert "nothing answers" in refused(done, 1)


def test_an_answer_that_is_no_2xx_exits_1(local: Local) -> None:
    done = local.command("partner", "send", f"{local.stack.public_url}/callbacks/forged")
    assert done.returncode == 1
    assert done.stdout.decode().startswith("404 ")


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
