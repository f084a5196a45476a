"""`stagehook partner stop` and `undo`: on a local system, and what is said when the partner does not play along."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import respx

from activities.callback_urls import CallbackURLs, Claims
from activities.environment import Environment
from activities.http import NotAuthenticated
from activities.partners import PARTNERS
from receiver.cli.errors import CommandError
from receiver.cli.partner.tell import _build
from tests.local_stack import Local
from tests.parts.endings import Done, refused, said
from tests.parts.local_runs import begin, call_of, until
from tests.parts.partner_list import list_only
from tests.parts.terminals import answered
from workflows.contract import StageCall, StageProgress

pytestmark = pytest.mark.usefixtures("both")

ESIGN = "https://esign.test"


@pytest.fixture(scope="session")
def both(local: Local) -> None:
    """A run `both` whose card was made and whose contract waits for ever."""
    begin(local, "both", {"partner": "cards"}, {"partner": "esign", "needs": {"signer": "input.signer"}})
    until(local, "both", 2, lambda stage: stage["state"] == "waiting")


def work_of(local: Local, reference: str) -> dict[str, Any]:
    """What the sandbox partner noted about it."""
    return next(work for work in asyncio.run(local.stack.ledger()) if work["id"] == reference)


def stop(local: Local, *more: str, **env: str) -> Done:
    return local.command("partner", "stop", "both", "2", *(more or ("--yes",)), given=b"", **env)


# --- on the sandbox


def test_a_partner_is_told_to_stop_work_and_the_run_is_not(local: Local) -> None:
    begin(local, "stopped", {"partner": "esign", "needs": {"signer": "input.signer"}})
    until(local, "stopped", 1, lambda stage: stage["state"] == "waiting")
    told = said(local.command("partner", "stop", "stopped", "1", "--yes", "--json"))
    assert (told["told"], told["partner"], told["status"], told["attempt"]) == ("stop", "esign", 200, 1)
    assert told["reference"] in told["said"]
    work = work_of(local, told["reference"])
    assert (work["stopped"], work["undone"], work["deliveries"]) == (True, False, [])
    until(local, "stopped", 1, lambda stage: stage["state"] == "waiting")


def test_work_is_stopped_after_its_run_was_cancelled(local: Local) -> None:
    begin(local, "cancelled", {"partner": "esign", "needs": {"signer": "input.signer"}})
    until(local, "cancelled", 1, lambda stage: stage["state"] == "waiting")
    assert local.command("pipeline", "cancel", "cancelled", "--yes").returncode == 0
    until(local, "cancelled", 1, lambda stage: stage["cause"] == "cancelled")
    done = local.command("partner", "stop", "cancelled", "1", "--yes")
    assert done.stdout.decode().startswith('partner esign answered 200: {"envelopeId"'), done.stderr


def test_finished_work_is_undone(local: Local) -> None:
    told = said(local.command("partner", "undo", "both", "1", "--yes", "--json"))
    assert (told["told"], told["partner"], told["status"]) == ("undo", "cards", 200)
    assert work_of(local, told["reference"])["undone"]


@pytest.mark.system
def test_an_earlier_calls_work_is_not_undone_by_the_latest(local: Local) -> None:
    retried = {"partner": "cards", "timeout": 3, "on_timeout": "retry", "attempts": 2}
    begin(local, "retried", {**retried, "needs": {"signer": "input.signer"}})
    until(local, "retried", 1, lambda stage: stage["state"] == "waiting")
    url = said(local.command("token", "issue", "retried", "1", "--json"))["url"]
    until(local, "retried", 1, lambda stage: stage["attempts"] == 2 and stage["reference"] != "")
    local.command("partner", "send", url, "--data", '{"card_id": "c", "last_four": "1234"}')
    assert local.command("pipeline", "watch", "retried").returncode == 0
    assert "look for retried/1/1 at the partner" in refused(
        local.command("partner", "undo", "retried", "1", "--yes"), 1
    )


# --- what cannot be told


@pytest.mark.parametrize(("run", "stage"), [("nobody", "1"), ("both", "3"), ("both", "0")])
def test_a_run_or_stage_that_is_unknown_exits_4(local: Local, run: str, stage: str) -> None:
    for verb in ("stop", "undo"):
        refused(local.command("partner", verb, run, stage, "--yes"), 4)


@pytest.mark.parametrize(("verb", "stage", "name"), [("stop", "1", "cards"), ("undo", "2", "esign")])
def test_a_partner_that_cannot_be_told_is_named(local: Local, verb: str, stage: str, name: str) -> None:
    message = refused(local.command("partner", verb, "both", stage, "--yes"), 1)
    assert f"partner {name} cannot be told to {verb} work" in message
    assert f"look for {name}-" in message


def test_a_request_that_the_file_cannot_build_is_refused() -> None:
    call = StageCall("run-1", "chain-1", 1, "card", "cards", 1, 1_800_000_000, 1_900_000_000)
    cards = PARTNERS["cards"](Environment({"CARDS_KEY": "not-a-key"}))
    with pytest.raises(CommandError, match=r"cannot be told to undo work: invalid id '\.\.'"):
        _build("undo", cards, call, StageProgress(1, "card", "cards", "settled", reference=".."))


def test_work_without_a_reference_is_named_as_our_call_named_it(local: Local) -> None:
    begin(local, "refused", {"partner": "esign", "needs": {"signer": "input.signer"}}, signer="play:refusing")
    until(local, "refused", 1, lambda stage: stage["state"] == "settled")
    message = refused(local.command("partner", "stop", "refused", "1", "--yes"), 1)
    assert "no reference of esign's" in message
    assert "look for refused/1/1 at the partner" in message


def test_a_partner_that_the_code_here_does_not_have_is_named(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    list_only(monkeypatch, {})
    assert "no partner 'esign'" in refused(stop(local), 1)


@pytest.mark.parametrize("missing", ["ESIGN_KEY", "CALLBACK_KEYS"])
def test_only_what_it_needs_must_be_set(local: Local, missing: str) -> None:
    assert missing in refused(stop(local, **{missing: ""}), 2)
    with respx.mock:
        respx.put(url__startswith=ESIGN).respond(200)
        assert stop(local, ESIGN_URL=ESIGN, PARTNERS="", BANK_KEY="", PUBLIC_URL="").returncode == 0


# --- confirmation


def test_without_a_terminal_or_yes_nothing_is_sent(local: Local) -> None:
    assert "say --yes" in refused(stop(local, "--json"), 2)


@pytest.mark.parametrize(("answer", "code"), [("n\n", 130), ("y\n", 0)])
def test_on_a_terminal_it_asks_first(local: Local, answer: str, code: int) -> None:
    begin(local, f"asked-{code}", {"partner": "esign", "needs": {"signer": "input.signer"}})
    until(local, f"asked-{code}", 1, lambda stage: stage["state"] == "waiting")
    words = ("partner", "stop", f"asked-{code}", "1", "--json")
    done = answered(answer.encode(), *words, **local.stack.environment)
    assert (done.code, done.out.strip() != "") == (code, code == 0), done.err
    assert f"stage 1 step-1 of asked-{code}, call 1, waiting" in done.err


# --- what the partner may answer


@respx.mock
def test_the_request_has_the_partners_credentials_and_a_key(local: Local) -> None:
    route = respx.put(url__startswith=f"{ESIGN}/envelopes/esign-").respond(200, json={})
    for _ in range(2):
        assert stop(local, ESIGN_URL=ESIGN).returncode == 0
    first, second = (call.request for call in route.calls)
    assert json.loads(first.content)["status"] == "voided"
    assert first.headers["authorization"] == f"Bearer {local.stack.environment['ESIGN_KEY']}"
    key = Claims.of(call_of(local, "both", 2)).idempotency_key
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == f"stop-{key}"


@respx.mock
@pytest.mark.parametrize(
    ("answer", "what", "advice"),
    [
        (httpx.Response(409, text="signed\nalready \u202e"), "partner esign answered 409: signed already", "look for"),
        (
            httpx.Response(302, headers={"Location": "https://elsewhere.test/"}),
            "partner esign answered 302",
            "look for",
        ),
        (httpx.Response(429), "partner esign answered 429", "again later"),
        (httpx.Response(503), "partner esign answered 503", "again later"),
        (httpx.ConnectError("refused"), "could not be reached (ConnectError)", "it was told nothing"),
        (NotAuthenticated("its token endpoint answers 401"), "told nothing: its token endpoint", "its credentials"),
        (httpx.ReadTimeout("lost"), "gave no whole answer (ReadTimeout), and may have done it", "the same key"),
    ],
)
def test_a_partner_that_does_not_say_yes_is_quoted_in_two_lines(
    local: Local, answer: httpx.Response | Exception, what: str, advice: str
) -> None:
    respx.put(url__startswith=ESIGN).mock(side_effect=[answer])
    message = refused(stop(local, ESIGN_URL=ESIGN), 1)
    assert what in message.splitlines()[0]
    assert advice in message.splitlines()[1]
    assert message.replace("\n", "").isprintable()


@respx.mock
def test_a_yes_whose_body_cannot_be_read_is_a_yes(local: Local) -> None:
    respx.put(url__startswith=ESIGN).respond(200, content=b"x" * 2_000_000)
    done = stop(local, ESIGN_URL=ESIGN)
    assert (done.returncode, done.stdout.decode()) == (0, "partner esign answered 200\n")
    assert "its body has more than 1048576 bytes" in done.stderr.decode()


@respx.mock
def test_as_json_a_no_is_printed_too(local: Local) -> None:
    respx.put(url__startswith=ESIGN).respond(409, text="signed already")
    done = stop(local, "--yes", "--json", ESIGN_URL=ESIGN)
    assert (json.loads(done.stdout)["status"], json.loads(done.stdout)["said"]) == (409, "signed already")
    assert (done.returncode, done.stderr.decode().count("\n")) == (1, 2)


@respx.mock
def test_a_partner_that_hangs_is_given_up(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    monkeypatch.setattr("receiver.cli.partner.tell.ANSWERS_WITHIN", 0.2)
    respx.put(url__startswith=ESIGN).mock(side_effect=hang)
    assert "TimeoutError" in refused(stop(local, ESIGN_URL=ESIGN), 1)


@respx.mock
@pytest.mark.parametrize("rotated", [False, True])
def test_a_partners_echo_is_printed_without_key_and_url(local: Local, *, rotated: bool) -> None:
    old = local.stack.environment["CALLBACK_KEYS"]
    keys = f"a-newer-key-for-tests-0123456789-abcdef,{old}" if rotated else old
    url = CallbackURLs(local.stack.public_url, [old]).issue(Claims.of(call_of(local, "both", 2)))
    echo = f"voided for {local.stack.environment['ESIGN_KEY']}, was {url}"
    respx.put(url__startswith=ESIGN).mock(side_effect=[httpx.Response(status, text=echo) for status in (200, 400)])
    for done in [stop(local, ESIGN_URL=ESIGN, CALLBACK_KEYS=keys) for _ in range(2)]:
        assert "voided for [removed], was " in (done.stdout + done.stderr).decode()
        assert url.rpartition("/")[2] not in (done.stdout + done.stderr).decode()
