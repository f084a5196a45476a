"""`stagehook partner pause|resume|list`, where Temporal refuses a part of what they ask."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from activities import strict_json
from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.http import http_client
from activities.lanes import ACTIVITY, Hold, hold_lane, lane_partner, look_at_lane
from activities.worker import build_worker
from receiver.telling.moments import utc_text
from tests.parts.least_settings import LEAST_SETTINGS
from tests.parts.told import told
from tests.support import KEY, QUEUE, ScriptedPartner, stage, start, until_event, waiting, working
from workflows.lanes import ask_lane, call_lane

PAUSE = ("partner", "pause", "bank", "--reason", "x")
PAUSED = "paused: no call to bank begins until `stagehook partner resume bank`"


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, status: RPCStatusCode) -> None:
    """Let Temporal answer this request of the command with an error."""

    async def fail(*_: object) -> None:
        raise RPCError("the answer", status, b"")

    monkeypatch.setattr(f"receiver.cli.partner.lanes.{name}", fail)  # first: imported later, it would keep `fail`
    monkeypatch.setattr(f"activities.lanes.{name}", fail)


@asynccontextmanager
async def without_partners(client: Client) -> AsyncIterator[None]:
    """A worker whose runs wait for lanes that no worker serves."""
    async with http_client() as http:
        calls = PartnerCalls(http, CallbackURLs("http://receiver.test", [KEY]), {})
        async with build_worker(client, calls, task_queue=QUEUE):
            yield


async def test_a_pause_holds_although_its_lane_cannot_be_looked_at(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "look_at_lane", RPCStatusCode.RESOURCE_EXHAUSTED)
    paused = await told(real, *PAUSE, TASK_QUEUE="unseen")
    assert (paused.code, paused.err.splitlines()[0]) == (0, PAUSED)
    assert "whether a worker asks for tasks from unseen.bank is not known: Temporal at" in paused.err
    assert (await look_at_lane(real.client, "unseen.bank")).hold


async def test_a_pause_holds_although_no_runs_can_be_listed(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "retried_calls", RPCStatusCode.RESOURCE_EXHAUSTED)
    paused = await told(real, *PAUSE, TASK_QUEUE="unlisted")
    assert (paused.code, paused.err.splitlines()[0]) == (0, PAUSED)
    assert paused.err.endswith("RESOURCE_EXHAUSTED: the answer\n")
    assert "and may fail before it ends, is not known: Temporal at" in paused.err


async def test_a_run_that_is_gone_has_no_retried_calls(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal deletes a run between the list and the look at it."""

    async def gone(*_: object) -> None:
        raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")

    async with working(real.client, ScriptedPartner()):
        await waiting(await start(real.client, stage(1)))
        monkeypatch.setattr(WorkflowHandle, "describe", gone)
        paused = await told(real, *PAUSE, TASK_QUEUE=QUEUE)
    assert (paused.code, "is not known" in paused.err) == (0, False)


@pytest.mark.parametrize(
    ("until", "says"),
    [
        ("1970-01-01T00:00:00Z", "--until 1970-01-01 00:00:00 UTC is over: name a time to come"),
        ("999999w", "invalid --until '999999w': it is before the year 1 or after 9999"),
    ],
)
async def test_a_pause_with_an_invalid_end_is_not_set(real: WorkflowEnvironment, until: str, says: str) -> None:
    done = await told(real, *PAUSE, "--until", until, TASK_QUEUE="endless")
    assert (done.code, says in done.err) == (2, True)
    assert (await look_at_lane(real.client, "endless.bank")).hold is None


async def test_a_hold_until_no_date_is_listed_and_ended(real: WorkflowEnvironment) -> None:
    """As an earlier version has set it."""
    await hold_lane(real.client, f"{QUEUE}.bank", Hold("operator", "x", actor="ada", until=6e11))
    listed = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="bank")
    resumed = await told(real, "partner", "resume", "bank", TASK_QUEUE=QUEUE)
    assert (listed.code, resumed.code) == (0, 0)
    assert "paused by ada" in listed.out


@pytest.mark.parametrize("at", [6e11, -6e11, math.inf, math.nan])
def test_a_moment_that_no_date_has_is_told(at: float) -> None:
    assert utc_text(at) == f"{at:.0f}"


def test_the_first_moment_of_unix_time_is_told() -> None:
    assert (utc_text(0.0), utc_text(None)) == ("1970-01-01 00:00:00", "")


REFUSALS = [
    (RPCStatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED: the answer"),
    (RPCStatusCode.INTERNAL, "INTERNAL: the answer"),
    (RPCStatusCode.NOT_FOUND, "NOT_FOUND: the answer"),
    (RPCStatusCode.PERMISSION_DENIED, "the permission is missing (the answer)"),
    (RPCStatusCode.UNIMPLEMENTED, "this server cannot hold task queues"),
]


@pytest.mark.parametrize(("status", "says"), REFUSALS)
async def test_partners_and_runs_are_listed_without_their_lanes(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, status: RPCStatusCode, says: str
) -> None:
    refuse(monkeypatch, "look_at_lane", status)
    async with without_partners(real.client):
        handle = await start(real.client, stage(1, partner="cards"))
        await until_event(handle, "activity_task_scheduled_event_attributes")
        partners = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="bank")
        runs = await told(real, "pipeline", "list", TASK_QUEUE=QUEUE)
        run = await told(real, "pipeline", "show", "run")
    for done in (partners, runs):
        assert (done.code, "lanes: not known: Temporal at" in done.err, says in done.err) == (0, True, True)
    assert (run.code, "what its call waits for is not known: Temporal" in run.out, says in run.out) == (
        0,
        True,
        True,
    )


async def test_doctor_says_that_a_temporal_cannot_hold_queues(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RPCError("the answer", RPCStatusCode.UNIMPLEMENTED, b"")

    settings = {name: value for name, value in LEAST_SETTINGS.items() if name != "TEMPORAL_ADDRESS"}
    unserved = await told(real, "doctor", given=b"", **settings, TASK_QUEUE="undoctored")
    monkeypatch.setattr("receiver.cli.doctor.checks.look_at_lane", fail)
    refused = await told(real, "doctor", given=b"", **settings)
    assert "no worker has asked for tasks from undoctored.sandbox for 90 s" in " ".join(unserved.out.split())
    assert "this server cannot hold task queues" in " ".join(refused.out.split())
    assert "update the Temporal server" in " ".join(refused.out.split())


async def test_a_temporal_that_cannot_hold_queues_is_told(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "hold_lane", RPCStatusCode.UNIMPLEMENTED)
    refuse(monkeypatch, "look_at_lane", RPCStatusCode.UNIMPLEMENTED)
    for done in (await told(real, *PAUSE), await told(real, "partner", "resume", "bank")):
        assert (done.code, "this server cannot hold task queues" in done.err) == (1, True)
        assert "try: update the Temporal server" in done.err


@pytest.mark.parametrize("name", ["bank", "ask"])
async def test_a_partner_whose_calls_no_worker_takes_is_named(real: WorkflowEnvironment, name: str) -> None:
    """Of the lane of the run, whatever this environment's TASK_QUEUE is."""
    async with without_partners(real.client):
        handle = await start(real.client, stage(1, partner=name))
        await until_event(handle, "activity_task_scheduled_event_attributes")
        shown = await told(real, "pipeline", "show", "run", TASK_QUEUE="another")
        listed = await told(real, "pipeline", "list", TASK_QUEUE="another")
    says = (
        f"no worker has asked for tasks from {QUEUE}.{name} for 90 s: start `stagehook worker` with {name} in PARTNERS"
    )
    assert f"waits: {says}" in shown.out
    assert f"calls to {name}: {says}" in listed.err


@pytest.mark.parametrize("name", ["bank", "ask"])
def test_the_partner_of_a_lane(name: str) -> None:
    for queue in ("tests", "tests.ask", "tests.ask.bank"):
        assert lane_partner(queue, call_lane(queue, name)) == name
        assert lane_partner(queue, ask_lane(queue, name)) == name


async def test_an_unserved_lane_may_have_a_worker_without_slots(real: WorkflowEnvironment) -> None:
    """It asks for no tasks then, so Temporal does not tell it from a worker that has ended."""
    paused = await told(real, *PAUSE, TASK_QUEUE="unserved")
    listed = await told(real, "partner", "list", TASK_QUEUE="unserved", PARTNERS="bank")
    assert "if workers run with this TASK_QUEUE and TEMPORAL_NAMESPACE, all their slots are taken" in paused.err
    await told(real, "partner", "resume", "bank", TASK_QUEUE="unserved")
    assert "paused by" in listed.out
    listed = await told(real, "partner", "list", TASK_QUEUE="unserved", PARTNERS="bank")
    assert "if a worker runs, requests that hang take all its slots" in " ".join(listed.out.split())


@pytest.mark.parametrize(
    ("reason", "rate", "says"),
    [
        ('{"by":[]}', 0.0, "held to 0 calls a second by test since"),
        ('{"by":{}}', 0.0, "held to 0 calls a second by test since"),
        ('{"by":"worker"}', 0.0, "held to 0 calls a second by test since"),
        ('{"by":"worker","reason":"x"}', 1e-40, "slow since"),
        ('{"by":"operator","until":Infinity}', 0.0, "held to 0 calls a second by test since"),
        ('{"by":"operator","until":NaN}', 0.0, "held to 0 calls a second by test since"),
        ('{"by":"operator","reason":"\\ud800"}', 0.0, "held to 0 calls a second by test since"),
        ('{"by":"operator","until":true}', 0.0, "paused by test since"),
        ('{"by":"operator","until":-1}', 0.0, "paused by test since"),
        ('{"by":"operator","until":' + "9" * 400 + "}", 0.0, "paused by test since"),
        ('{"by":"operator","until":' + "9" * 400 + ".0}", 0.0, "held to 0 calls a second by test since"),
        ('{"by":"operator","actor":[],"reason":{}}', 0.0, "paused by test since"),
        ("[" * 990, 0.0, "held to 0 calls a second by test since"),
    ],
)
async def test_a_rate_with_any_reason_is_listed_and_ended(
    real: WorkflowEnvironment, reason: str, rate: float, says: str
) -> None:
    """Anyone with Temporal's own command line can set one."""
    await set_rate(real.client, f"{QUEUE}.bank", rate, reason)
    listed = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="bank")
    as_json = await told(real, "partner", "list", "--json", TASK_QUEUE=QUEUE, PARTNERS="bank")
    resumed = await told(real, "partner", "resume", "bank", TASK_QUEUE=QUEUE)
    assert (listed.code, as_json.code, resumed.code) == (0, 0, 0)
    assert says in " ".join(listed.out.split())
    strict_json.loads(as_json.out.encode())


async def set_rate(client: Client, queue: str, rate: float, reason: str) -> None:
    request = UpdateTaskQueueConfigRequest(
        namespace=client.namespace, identity="test", task_queue=queue, task_queue_type=ACTIVITY
    )
    request.update_queue_rate_limit.rate_limit.requests_per_second = rate
    request.update_queue_rate_limit.reason = reason
    await client.workflow_service.update_task_queue_config(request)


UNKEPT = [
    ("😀" * 300, "bytes, and Temporal keeps 1000: shorten it"),
    ("\x01" * 300, "bytes, and Temporal keeps 1000: shorten it"),
    ("moves \udce9", "the reason is not UTF-8: write it again"),
]


@pytest.mark.parametrize(("reason", "says"), UNKEPT)
async def test_a_reason_that_temporal_cannot_keep_is_refused(real: WorkflowEnvironment, reason: str, says: str) -> None:
    words = ("bank", "--actor", "ada", "--reason", reason)
    paused = await told(real, "partner", "pause", *words, TASK_QUEUE=QUEUE)
    assert (paused.code, says in paused.err) == (2, True)
    assert (await look_at_lane(real.client, f"{QUEUE}.bank")).hold is None
    await hold_lane(real.client, f"{QUEUE}.bank", Hold("operator", "x", actor="ada"))
    resumed = await told(real, "partner", "resume", *words[:-1], reason * 4, TASK_QUEUE=QUEUE)
    assert (resumed.code, says in resumed.err) == (2, True)
    assert (await look_at_lane(real.client, f"{QUEUE}.bank")).hold is not None
