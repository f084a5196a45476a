"""Anything that can be signalled, and any number of it, on the real server: a run neither moves by it nor sticks."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.worker import WORKFLOWS
from receiver.budget import BURST
from tests.flood import AT_ONCE, BATCHES, persist
from tests.parts.callbacks import for_temporal, receiver, url_for
from tests.parts.one_queue import OneQueue
from tests.parts.temporal import BINARIES
from tests.support import (
    QUEUE,
    SOON,
    Handle,
    ScriptedPartner,
    count_events,
    progress_of,
    result_of,
    stage,
    start,
    waiting,
    working,
)
from workflows.contract import ADVANCE_STAGE
from workflows.views import details

ROOT = Path(__file__).parents[1]


@pytest.mark.system
async def test_one_url_cannot_use_up_the_signals_of_its_run(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is away, so that nothing but the receiver holds the flood back."""
    monkeypatch.setattr("receiver.budget.SECONDS_PER_CALLBACK", 3600.0)  # on a slow machine the flood takes long
    async with receiver(for_temporal(real.client)) as http:
        handle = await start(real.client, stage(1))
        url = url_for(handle)
        failures = [{"status": "failed", "error": {"code": f"E{n}"}} for n in range(BURST + 50)]
        answers = [await http.post(url, json=failure) for failure in failures]
        again = await http.post(url, json=failures[0])
        signals = await count_events(handle, "workflow_execution_signaled_event_attributes")
        await handle.signal(ADVANCE_STAGE, 1)
    assert [answer.status_code for answer in answers] == [202] * BURST + [429] * 50
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers[BURST:])
    assert (again.status_code, signals) == (202, BURST)


@pytest.mark.fault
@pytest.mark.timeout(300)
async def test_a_run_outlives_ten_thousand_signals(real: WorkflowEnvironment) -> None:
    """Sent without a pause they reach the limit before the run can continue as new; seconds later it has done so."""

    async with working(real.client, ScriptedPartner()):
        # One task has all that came before it, which on a busy machine takes longer than the ten seconds it has.
        handle = await start(real.client, stage(1), task_timeout=timedelta(seconds=60))
        await waiting(handle)
        latest = real.client.get_workflow_handle(handle.id)
        where = [real.client.service_client.config.target_host, real.client.namespace]
        flood = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.flood", *where, handle.id, cwd=ROOT)
        try:
            assert await asyncio.wait_for(flood.wait(), 150) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                flood.kill()
        async with asyncio.timeout(60):
            while sum((await progress_of(latest)).ignored.values()) < BATCHES * AT_ONCE:
                await asyncio.sleep(0.5)
        await persist(latest, 1)
        assert (await result_of(handle)).outcomes["step-1"].status == "advanced"


@pytest.mark.system
async def test_many_signals_in_one_task_write_the_details_once(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task has two seconds, and Temporal lets ten thousand signals pile up before it."""
    written: list[str] = []

    def counting(*args: Any) -> str:
        written.append(details(*args))
        return written[-1]

    handle = await start(real.client, stage(1))
    for n in range(200):
        await handle.signal(ADVANCE_STAGE, f"junk-{n}")
    monkeypatch.setattr("workflows.staged.details", counting)
    partner = ScriptedPartner()
    async with Worker(
        real.client,
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=[partner.call_partner, partner.ask_partner],
        interceptors=[OneQueue()],
        workflow_runner=UnsandboxedWorkflowRunner(),  # the sandbox has modules of its own
    ):
        await waiting(handle)
        assert sum((await progress_of(handle)).ignored.values()) == 200
    assert 0 < len(written) < 20, len(written)


@pytest.mark.fault
@pytest.mark.timeout(300)
async def test_every_2xx_of_a_burst_is_in_its_runs_history(
    real: WorkflowEnvironment,
) -> None:
    """Far more at once than Temporal takes in the time: each is answered 202 or 503, and the ledgers agree."""
    async with receiver(for_temporal(real.client)) as http:
        handles = [await start(real.client, stage(1), id=f"run-{n}") for n in range(60)]
        answered: Counter[str] = Counter()
        statuses: Counter[int] = Counter()

        async def send(handle: Handle, n: int) -> None:
            body = {"status": "progress", "data": {"message": f"{handle.id}-{n}"}}
            answer = await http.post(url_for(handle), json=body)
            statuses[answer.status_code] += 1
            answered[handle.id] += answer.status_code == 202

        await asyncio.gather(*(send(handle, n) for n in range(25) for handle in handles))
        kept = {
            handle.id: await count_events(handle, "workflow_execution_signaled_event_attributes") for handle in handles
        }
    assert set(statuses) <= {202, 503}
    assert statuses[202] > 0
    # What was answered 503 may have been taken all the same; its retry would be another progress report.
    assert all(kept[name] >= answered[name] for name in kept)


JSON: dict[str, bytes] = {"encoding": b"json/plain"}
RAW_PAYLOADS = {
    "no arguments": [],
    "ten arguments": [Payload(metadata=JSON, data=b"1")] * 10,
    "text": [Payload(metadata=JSON, data=b'"1"')],
    "a fraction": [Payload(metadata=JSON, data=b"1.0")],
    "a huge exponent": [Payload(metadata=JSON, data=b"1e400")],
    "a huge number": [Payload(metadata=JSON, data=b"9" * 5000)],
    "null": [Payload(metadata=JSON, data=b"null")],
    "nil": [Payload(metadata={"encoding": b"binary/null"})],
    "true": [Payload(metadata=JSON, data=b"true")],
    "an object": [Payload(metadata=JSON, data=b'{"stage": 1}')],
    "a lone surrogate": [Payload(metadata=JSON, data=b'"\\ud800"')],
    "a lone surrogate as callback": [Payload(metadata=JSON, data=b"1"), Payload(metadata=JSON, data=b'"\\ud800"')],
    "no json": [Payload(metadata=JSON, data=b"{")],
    "no utf-8": [Payload(metadata=JSON, data=b"\xff\xfe")],
    "deep": [Payload(metadata=JSON, data=b"[" * 100_000)],
    "bytes": [Payload(metadata={"encoding": b"binary/plain"}, data=b"\x00\x01")],
    "an unknown encoding": [Payload(metadata={"encoding": b"martian"}, data=b"1")],
    "no encoding": [Payload(data=b"1")],
    "a protobuf of nobody": [
        Payload(metadata={"encoding": b"json/protobuf", "messageType": b"no.such.Type"}, data=b"{}")
    ],
    "a megabyte": [Payload(metadata=JSON, data=b'"' + b"x" * 1_000_000 + b'"')],
}
DROPPED_BY_THE_SDK = {
    "a huge number",
    "no json",
    "no utf-8",
    "deep",
    "an unknown encoding",
    "no encoding",
    "a protobuf of nobody",
}
"""Undecodable: the SDK logs and drops them before the workflow sees them."""


async def test_no_payload_moves_the_run_or_blocks_it(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        for number, payloads in enumerate(RAW_PAYLOADS.values()):
            for name in (ADVANCE_STAGE, "advance-stage"):
                request = SignalWorkflowExecutionRequest(
                    namespace=real.client.namespace,
                    workflow_execution=WorkflowExecution(workflow_id=handle.id),
                    signal_name=name,
                    request_id=f"{name}-{number}",
                )
                request.input.payloads.extend(payloads)
                await real.client.workflow_service.signal_workflow_execution(request)
        progress = await progress_of(handle)
        failed = await count_events(handle, "workflow_task_failed_event_attributes")
        status = (await handle.describe()).status
        await handle.signal(ADVANCE_STAGE, 1)
        assert (await result_of(handle)).outcomes["step-1"].status == "advanced"
    assert progress.stages[0].state == "waiting"
    assert progress.ignored["unknown signal name"] == len(RAW_PAYLOADS)
    heard = sum(progress.ignored.values()) - len(RAW_PAYLOADS)
    assert heard == len(RAW_PAYLOADS) - len(DROPPED_BY_THE_SDK)
    assert (failed, status) == (0, WorkflowExecutionStatus.RUNNING)


BAD_INPUTS: tuple[list[str], ...] = (
    [],
    ['"1"'],
    ["1.5"],
    ["null"],
    ["{}"],
    ["[1]"],
    ["true"],
    ["99"],
    ["-1"],
    ["1", "2", "3"],
)


@pytest.mark.system
async def test_the_temporal_cli_can_send_nothing_that_sticks(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        command = [
            str(BINARIES / "temporal"),
            "workflow",
            "signal",
            "--workflow-id",
            handle.id,
            "--name",
            ADVANCE_STAGE,
        ]
        where = ["--address", real.client.service_client.config.target_host, "--namespace", real.client.namespace]
        for number, inputs in enumerate(BAD_INPUTS, 1):
            given = [word for value in inputs for word in ("--input", value)]
            process = await asyncio.create_subprocess_exec(*command, *where, *given, stdout=sys.stderr)
            assert await asyncio.wait_for(process.wait(), 3 * SOON) == 0
            progress = await progress_of(handle)
            assert (progress.stages[0].state, sum(progress.ignored.values())) == ("waiting", number), inputs
        await handle.signal(ADVANCE_STAGE, 1)
        assert (await result_of(handle)).outcomes["step-1"].status == "advanced"
