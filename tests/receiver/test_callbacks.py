"""The one endpoint: every line of the table of answers, without a socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CallbackURLs
from receiver.body import LARGEST_BODY
from receiver.budget import BURST
from receiver.sending.signal import Signal
from receiver.sending.signals import Reached, Signals, TemporalAway
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, for_temporal, receiver, url_for
from tests.support import (
    QUEUE,
    SOON,
    Handle,
    ScriptedPartner,
    progress_of,
    result_of,
    stage,
    start,
    until,
    waiting,
    working,
)
from workflows.contract import LARGEST_OUTCOME, PIPELINE_WORKFLOW, Answer

# --- refused without asking Temporal


UNKNOWN_TOKENS = {
    "forged": URLS.issue(CLAIMS)[:-1] + ("A" if URLS.issue(CLAIMS)[-1] != "A" else "B"),
    "another key": CallbackURLs(BASE, ["another-key-for-tests-0123456789-abc"]).issue(CLAIMS),
    "truncated": URLS.issue(CLAIMS)[:-5],
    "trailing slash": URLS.issue(CLAIMS) + "/",
    "percent": URLS.issue(CLAIMS).replace(".", "%2E"),
    "padded": URLS.issue(CLAIMS) + "=",
    "prefixed": URLS.issue(CLAIMS).replace("/callbacks/", "/callbacks/x/callbacks/"),
    "percent in the path": URLS.issue(CLAIMS).replace("/callbacks/", "/%63allbacks/"),
    "empty": f"{BASE}/callbacks/",
    "another path": f"{BASE}/elsewhere",
}


async def test_unknown_tokens_are_answered_all_alike() -> None:
    async with receiver() as http:
        answers = [await http.post(url, json=DONE) for url in UNKNOWN_TOKENS.values()]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(answer.headers.raw) for answer in answers}) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
async def test_other_methods_settle_nothing(method: str) -> None:
    async with receiver() as http:
        answer = await http.request(method, URLS.issue(CLAIMS))
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


async def test_an_expired_token_is_410() -> None:
    async with receiver() as http:
        answer = await http.post(URLS.issue(replace(CLAIMS, expires_at=1_790_000_001)), json=DONE)
    assert answer.status_code == 410


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_another_media_type_is_415(content_type: str) -> None:
    async with receiver() as http:
        answer = await http.post(URLS.issue(CLAIMS), content=b"{}", headers={"Content-Type": content_type})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "name", ["content-type", "content-encoding", "content-length", "transfer-encoding", "host", "authorization"]
)
async def test_a_repeated_header_that_readers_could_differ_on_is_400(name: str) -> None:
    values = {"content-type": "application/json", "content-length": "2", "host": "hooks.example.com"}
    sent = {"content-type": values["content-type"], "content-length": "2", name: values.get(name, "identity")}
    headers = [*sent.items(), (name, sent[name])]
    async with receiver() as http:
        answer = await http.post(URLS.issue(CLAIMS), content=b"{}", headers=headers)
    assert answer.status_code == 400
    assert f"{name} is given more than once" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b'{"status": "odd"}',
        b'{"status": "succeeded", "status": "failed"}',
        b'{"status": "succeeded", "data": {"x": NaN}}',
        b'{"status": "succeeded", "data": {"x": 1e999}}',
        b'{"status": "succeeded", "data": {"x": ' + b"9" * 5000 + b"}}",
        b'{"status": "succeeded", "data": {"x": "\\ud800"}}',
        b'{"status": "succeeded", "data": ' + b'{"x":' * 100 + b"1" + b"}" * 100 + b"}",
        b"[" * 500_000,
        b'\xef\xbb\xbf{"status": "succeeded"}',
        '{"status": "succeeded"}'.encode("utf-16"),
        b"\xff\xfe",
    ],
)
async def test_a_body_that_cannot_be_read_strictly_is_422(body: bytes) -> None:
    async with receiver() as http:
        answer = await http.post(URLS.issue(CLAIMS), content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


async def test_a_body_over_the_limit_is_413_declared_or_not() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(LARGEST_BODY // 65536 + 2):
            yield b" " * 65536

    async with receiver() as http:
        json_type = {"Content-Type": "application/json"}
        declared = await http.post(URLS.issue(CLAIMS), content=b" " * (LARGEST_BODY + 1), headers=json_type)
        chunked = await http.post(URLS.issue(CLAIMS), content=chunks(), headers=json_type)
    assert (declared.status_code, chunked.status_code) == (413, 413)
    assert chunked.headers["connection"] == "close"


async def test_an_outcome_too_large_for_a_history_is_the_files_mistake() -> None:
    async with receiver() as http:
        for big in (
            {"status": "succeeded", "data": {"x": "y" * LARGEST_OUTCOME}},
            {"status": "failed", "error": {"message": "\N{WHITE SMILING FACE}" * (LARGEST_OUTCOME // 6)}},
        ):
            assert (await http.post(URLS.issue(CLAIMS), json=big)).status_code == 503


async def test_a_partner_that_is_not_enabled_is_our_fault() -> None:
    async with receiver() as http:
        answer = await http.post(URLS.issue(replace(CLAIMS, partner="cards")), json=DONE)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


async def test_no_answer_redirects_or_repeats_the_token() -> None:
    async with receiver() as http:
        for url in (*UNKNOWN_TOKENS.values(), URLS.issue(CLAIMS) + "/"):
            answer = await http.post(url, json=DONE, follow_redirects=False)
            assert "location" not in answer.headers
            assert url.rpartition("/")[2][:20] not in answer.text or url.endswith("/")


# --- answered by what Temporal says


async def test_a_callback_is_202_and_settles_its_stage(real: WorkflowEnvironment) -> None:
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        answer = await http.post(url_for(handle), json=DONE)
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert (answer.status_code, answer.json()) == (202, {"answer": "accepted"})
    assert (outcome.cause, outcome.data) == ("callback", {"account_id": "a-1"})


async def test_fifty_copies_at_once_are_one_signal_and_fifty_times_202(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("direct", "signals"):
        monkeypatch.setattr(f"receiver.sending.{module}.BUDGET_SECONDS", 30.0)  # the machine may be busy
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        url = url_for(handle)
        answers = await asyncio.gather(*(http.post(url, json=DONE) for _ in range(50)))
        await waiting(handle, 2)
        events = [event async for event in handle.fetch_history_events()]
    assert {answer.status_code for answer in answers} == {202}
    assert sum(event.HasField("workflow_execution_signaled_event_attributes") for event in events) == 1


async def test_the_same_content_gets_its_answer_after_the_runs_end(real: WorkflowEnvironment) -> None:
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        url = url_for(handle)
        first = await http.post(url, json=DONE)
        await result_of(handle)
        again = await http.post(url, json=DONE)
        other = await http.post(url, json={**DONE, "data": {"account_id": "b"}})
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 410)


@pytest.mark.parametrize("status", ["progress", "succeeded"])
async def test_an_outage_of_ours_uses_up_no_urls_budget(status: str) -> None:
    """Different contents, more than a URL may bring at once: each 503, and no 429."""

    class Away(Signals):
        def __init__(self) -> None:
            pass

        async def send(self, *args: Any, **options: Any) -> Reached:
            raise TemporalAway("no connection")

    async with receiver(Away()) as http:
        bodies = [{"status": status, "data": {"n": n}} for n in range(2 * BURST)]
        answers = [await http.post(URLS.issue(CLAIMS), json=body) for body in bodies]
    assert {answer.status_code for answer in answers} == {503}


@pytest.mark.parametrize("status", ["progress", "ask"])
async def test_what_settles_nothing_is_never_taken_for_a_duplicate(real: WorkflowEnvironment, status: str) -> None:
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        for _ in range(3):
            assert (await http.post(url_for(handle), json={"status": status})).status_code == 202
        settled = await until(handle, 1, lambda stage: stage.ledger_total == 3)
    assert settled.outcome is None


async def test_a_run_that_temporal_does_not_know_is_404(real: WorkflowEnvironment) -> None:
    async with receiver(for_temporal(real.client)) as http:
        answer = await http.post(URLS.issue(CLAIMS), json={"status": "succeeded"})
        forged = await http.post(UNKNOWN_TOKENS["forged"], json={"status": "succeeded"})
    assert answer.status_code == 404
    assert (answer.content, answer.headers.raw) == (forged.content, forged.headers.raw)


async def test_a_terminated_run_is_410(real: WorkflowEnvironment) -> None:
    async with receiver(for_temporal(real.client)) as http:
        handle = await start(real.client, stage(1))
        await handle.terminate()
        assert (await http.post(url_for(handle), json=DONE)).status_code == 410


def signal_for(handle: Handle) -> Signal:
    return Signal.of(URLS.redeem(url_for(handle).rpartition("/")[2]), Answer("succeeded"), b"")


async def test_a_replaced_runs_callback_leaves_the_new_run_alone(real: WorkflowEnvironment) -> None:
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        old = await start(real.client, stage(1))
        await old.terminate()
        new = await start(real.client, stage(1))
        await waiting(new)
        taken = await http.post(url_for(old), json=DONE)
        ignored = (await progress_of(new)).ignored
        await new.terminate()
        late = await http.post(url_for(old), json={**DONE, "data": {"account_id": "b"}})
        found = [await for_temporal(real.client).send(signal_for(handle)) for handle in (old, new)]
    assert found == [Reached.REPLACED, Reached.FINISHED]
    assert (taken.status_code, ignored) == (202, {"another run's callback": 1})
    assert late.status_code == 410


async def test_a_namespace_that_is_missing_is_503(real: WorkflowEnvironment) -> None:
    config = real.client.config()
    config["namespace"] = "missing"
    async with receiver(for_temporal(Client(**config))) as http:
        answer = await http.post(URLS.issue(CLAIMS), json={"status": "succeeded"})
        ready = await http.get("/readyz")
    assert answer.status_code == 503
    assert (ready.status_code, ready.json()["why"]) == (503, "Temporal: the namespace does not exist")


async def test_temporal_away_is_503_with_retry_after_within_the_budget(unused_port: int) -> None:
    async def lazily() -> Client:
        return await Client.connect(f"127.0.0.1:{unused_port}", lazy=True)

    async with receiver(Signals(lazily)) as http:
        began = asyncio.get_running_loop().time()
        answer = await http.post(URLS.issue(CLAIMS), json={"status": "succeeded"})
        took = asyncio.get_running_loop().time() - began
        ready = await http.get("/readyz")
        alive = await http.get("/healthz")
    assert (answer.status_code, ready.status_code, alive.status_code) == (503, 503, 200)
    assert int(answer.headers["retry-after"]) > 0
    assert took < 3 * 2.5


async def test_readiness_is_asked_of_temporal_at_most_once_per_while(real: WorkflowEnvironment) -> None:
    asked = 0

    async def connected() -> Client:
        nonlocal asked
        asked += 1
        return real.client

    signals = Signals(connected)
    async with receiver(signals) as http:
        answers = await asyncio.gather(*(http.get("/readyz") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert asked == 1


async def test_a_run_started_by_any_client_takes_callbacks(real: WorkflowEnvironment) -> None:
    """The definition is plain JSON: no class of ours is needed to start a run."""
    definition = {
        "name": "by-hand",
        "stages": [{"number": 1, "name": "only", "partner": "partner-1", "timeout": 60}],
    }
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await real.client.start_workflow(
            PIPELINE_WORKFLOW, {"pipeline": definition}, id="by-hand", task_queue=QUEUE
        )
        await waiting(handle)
        await http.post(url_for(handle), json=DONE)
        result = await asyncio.wait_for(handle.result(), SOON)
    assert result["outcomes"]["only"]["data"] == {"account_id": "a-1"}


# --- what is logged


async def test_a_request_is_one_log_line_with_claims_and_no_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with receiver() as http:
        await http.post(URLS.issue(CLAIMS), content=b"{", headers={"Content-Type": "application/json"})
        await http.post(UNKNOWN_TOKENS["forged"], json=DONE)
    ours = [record for record in caplog.records if record.name == "stagehook.callbacks"]
    assert [vars(record)["verdict"] for record in ours] == ["unreadable", "unknown"]
    assert (vars(ours[0])["stage"], vars(ours[0])["partner"]) == (1, "bank")
    assert vars(ours[0])["why"] == "not JSON"
    logged = json.dumps([str(vars(record)) for record in ours])
    assert URLS.issue(CLAIMS).rpartition("/")[2] not in logged
