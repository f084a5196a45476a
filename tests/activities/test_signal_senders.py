"""Who sent a signal by hand, as its header says: it is in the ledger, and no header harms a run."""

from __future__ import annotations

import json

import pytest
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.testing import WorkflowEnvironment

from activities.runs import Runs
from activities.signal_senders import sender_in
from tests.support import ScriptedPartner, progress_of, result_of, stage, start, waiting, working
from workflows.contract import ADVANCE_STAGE, SENDER_HEADER, SignalSender

ADA = SignalSender("ada", "a letter came")

JUNK = {
    "no JSON": b"{",
    "no object": b'["ada", "why"]',
    "deep": b"[" * 100_000,
    "no reason": b'{"actor": "ada"}',
    "no name": b'{"actor": "", "reason": "x"}',
    "a number": b'{"actor": 5, "reason": "x"}',
    "a long name": json.dumps({"actor": "a" * 101, "reason": "x"}).encode(),
    "half an emoji": b'{"actor": "ada\\ud83d", "reason": "x"}',
    "not a number": b'{"actor": "ada", "reason": "x", "more": NaN}',
    "not UTF-8": b'{"actor": "\xff", "reason": "x"}',
    "empty": b"",
}


@pytest.mark.parametrize("name", JUNK)
def test_another_header_names_no_sender(name: str) -> None:
    assert sender_in(Payload(data=JUNK[name])) is None


def test_a_long_reason_is_cut() -> None:
    given = json.dumps({"actor": "ada", "reason": "x" * 2_000, "a later field": 1}).encode()
    assert sender_in(Payload(data=given)) == SignalSender("ada", "x" * 300)


async def test_each_stage_that_is_advanced_past_says_who_did_it(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2), stage(3))
        await waiting(handle)
        await handle.signal(ADVANCE_STAGE, 1)
        await waiting(handle, 2)
        await Runs(real.client).advance(handle.id, 3, ADA)
        await result_of(handle)
        ledgers = [[(one.what, one.why) for one in known.ledger] for known in (await progress_of(handle)).stages]
    assert ledgers == [[], [("advance, by ada", ADA.reason)], [("advance, by ada", ADA.reason)]]


async def test_a_sender_is_of_one_signal_only(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        await Runs(real.client).advance(handle.id, 1, ADA)
        await waiting(handle, 2)
        await handle.signal(ADVANCE_STAGE, 2)
        await result_of(handle)
        assert [len(known.ledger) for known in (await progress_of(handle)).stages] == [1, 0]


async def test_no_header_keeps_a_signal_from_its_run(real: WorkflowEnvironment) -> None:
    client = real.client
    async with working(client, ScriptedPartner()):
        handle = await start(client, *(stage(number) for number in range(1, len(JUNK) + 1)))
        for number, junk in enumerate(JUNK.values(), start=1):
            await waiting(handle, number)
            request = SignalWorkflowExecutionRequest(
                namespace=client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=handle.id),
                signal_name=ADVANCE_STAGE,
            )
            request.input.payloads.extend(await client.data_converter.encode([number]))
            request.header.fields[SENDER_HEADER].data = junk[:100_000]
            await client.workflow_service.signal_workflow_execution(request)
        await result_of(handle)
        assert [known.outcome for known in (await progress_of(handle)).stages] == ["advanced"] * len(JUNK)
