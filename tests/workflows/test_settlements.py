"""What the worker counts of a run: each stage once, however often the run is replayed, evicted or continued."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from prometheus_client.core import Metric
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from activities.worker import WORKFLOWS, workflow_runner
from tests.parts.counted import counting_client, counts
from tests.parts.junk import junk_until_continued
from tests.parts.waits import eventually
from tests.support import (
    Handle,
    ScriptedPartner,
    call_back,
    failure_of,
    operate,
    progress_of,
    result_of,
    stage,
    start,
    waiting,
    working,
)
from workflows.contract import ADVANCE_STAGE, Answer, Receipt, StageCall
from workflows.settlements import LONGEST_LABEL, label_text

pytestmark = pytest.mark.system

LABELS = ("pipeline", "stage", "partner", "status", "cause")


def settled(metrics: list[Metric]) -> dict[tuple[str, ...], float]:
    return counts(metrics, "stagehook_stages_settled_total", *LABELS)


async def answered_at_once(call: StageCall) -> Receipt:
    """Stage 3 is answered by the call itself."""
    return Receipt(answer=Answer("succeeded") if call.stage == 3 else None)


@pytest.mark.parametrize("cached", [0, 1_000], ids=["replayed", "cached"])
async def test_each_stage_counts_once_by_its_cause(real: WorkflowEnvironment, cached: int) -> None:
    """Without a cache, each workflow task replays the run from its beginning."""
    client, counted = await counting_client(real)
    partner = ScriptedPartner(answered_at_once)

    async def waiting_for_call(number: int) -> None:
        # A query that comes between an event and its task runs the workflow for itself, as if the task were done: what
        # it counts there, the task counts again. So nothing is asked before the task has led to the call.
        await eventually(lambda: len(partner.calls) == number)
        await waiting(handle, number)

    async with working(client, partner, cached=cached):
        handle: Handle = await start(client, *(stage(number) for number in range(1, 6)))
        await waiting(handle, 1)
        await call_back(handle, partner.calls[0])
        await waiting_for_call(2)
        await handle.signal(ADVANCE_STAGE, 2)
        await waiting_for_call(4)
        await operate(handle, "skip", 4)
        await waiting_for_call(5)
        await call_back(handle, partner.calls[-1], Answer("failed", code="no"))
        await failure_of(handle)
        for _ in range(3):
            await progress_of(handle)
    metrics = counted.collect()
    assert settled(metrics) == {
        ("testing", "step-1", "partner-1", "succeeded", "callback"): 1,
        ("testing", "step-2", "partner-2", "advanced", "operator"): 1,
        ("testing", "step-3", "partner-3", "succeeded", "answered"): 1,
        ("testing", "step-4", "partner-4", "skipped", "operator"): 1,
        ("testing", "step-5", "partner-5", "failed", "callback"): 1,
    }
    assert counts(metrics, "stagehook_callback_seconds_count", "stage", "partner") == {
        ("step-1", "partner-1"): 1,
        ("step-5", "partner-5"): 1,
    }


async def test_a_callback_of_an_earlier_call_has_no_time(real: WorkflowEnvironment) -> None:
    """When that call was made is not recorded any more."""
    client, counted = await counting_client(real)
    partner = ScriptedPartner()
    async with working(client, partner):
        handle = await start(client, stage(1, on_failure="retry", attempts=2))
        await waiting(handle, 1)
        await call_back(handle, partner.calls[0], Answer("failed"))
        await waiting(handle, 1, attempt=2)
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    metrics = counted.collect()
    assert list(settled(metrics).values()) == [1]
    assert counts(metrics, "stagehook_callback_seconds_count", "stage") == {}


async def test_a_run_that_leaves_the_cache_counts_nothing(real: WorkflowEnvironment) -> None:
    """Its tasks are cancelled then, as if the run were."""
    client, counted = await counting_client(real)
    async with working(client, ScriptedPartner(), cached=1):
        handles = [await start(client, stage(1), id=f"run-{number}") for number in range(3)]
        for handle in handles:
            await waiting(handle, 1)
    assert settled(counted.collect()) == {}


async def test_a_history_replay_counts_nothing(real: WorkflowEnvironment) -> None:
    client, counted = await counting_client(real)
    partner = ScriptedPartner()
    async with working(client, partner):
        handle = await start(client, stage(1))
        await waiting(handle, 1)
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    before = settled(counted.collect())
    replayer = Replayer(
        workflows=WORKFLOWS, workflow_runner=workflow_runner(), runtime=client.service_client.config.runtime
    )
    await replayer.replay_workflow(await handle.fetch_history())
    assert sum(before.values()) == 1
    assert settled(counted.collect()) == before


async def test_a_stage_counts_once_in_a_chain_of_executions(real: WorkflowEnvironment) -> None:
    client, counted = await counting_client(real)
    partner = ScriptedPartner()
    with patch("workflows.staged.SIGNALS_PER_EXECUTION", 3):
        async with working(client, partner):
            handle = await start(client, stage(1), stage(2))
            await waiting(handle, 1)
            await call_back(handle, partner.calls[0])
            await waiting(handle, 2)
            await junk_until_continued(real, handle)
            latest: Handle = client.get_workflow_handle(handle.id)
            await waiting(latest, 2)
            await call_back(latest, partner.calls[1])
            await result_of(latest)
    assert [(key[1], value) for key, value in settled(counted.collect()).items()] == [("step-1", 1), ("step-2", 1)]


@pytest.mark.parametrize(
    ("value", "text"), [("bank", "bank"), (7, "7"), ("\ud800x", "?x"), ("a" * 500, "a" * LONGEST_LABEL)]
)
def test_a_label_is_short_and_utf_8(value: object, text: str) -> None:
    """The SDK's meter raises for other texts, and a run that raises is blocked."""
    assert label_text(value) == text
