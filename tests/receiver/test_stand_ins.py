"""Stand-ins: how long they wait, where they begin, and that they end only when they have what they were sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import Claims
from activities.runs import Runs
from receiver.deliveries.delivery import Delivery
from receiver.replay import stand_ins
from receiver.replay.errors import NoStandIn
from receiver.replay.sending import Replayed
from receiver.replay.stand_ins import StandIns, is_stand_in, new_stand_in_id, stand_in
from tests.parts.deliveries import delivery
from tests.parts.patience import NO_WORKER
from tests.support import QUEUE, RUN_TIMEOUT, ScriptedPartner, working
from workflows.checking import MOST_STAGES, pipeline_faults
from workflows.contract import ADVANCE_STAGE, Answer, Callback
from workflows.durations import DAY, HOUR


def captured(stage: int = 1, **changes: Any) -> Delivery:
    return replace(delivery(pipeline="testing", stage=stage), **changes)


def answered(one: Delivery, claims: Claims, says: str = "succeeded") -> Replayed:
    return Replayed(one, claims.workflow_id, 202, says=says)


async def signal(real: WorkflowEnvironment, claims: Claims, says: Any, after: float = 0.0) -> None:
    """What a receiver does with a callback that it has kept: at its leisure."""
    await asyncio.sleep(after)
    callback = Callback(Answer(says), claims.chain_id, claims.attempt, claims.issued_at)
    handle = real.client.get_workflow_handle(claims.workflow_id)
    await handle.signal(ADVANCE_STAGE, args=[claims.stage, callback])


def test_a_stand_in_waits_longer_than_the_replay_takes() -> None:
    pipeline, carried = stand_in([captured(2)], 100.0, lasting=20 * DAY)
    assert {stage.timeout for stage in pipeline.stages} == {20 * DAY + HOUR}
    assert carried.records["2"]["timeout"] == 20 * DAY + HOUR


def test_a_stand_in_has_no_more_stages_than_a_run_may_have() -> None:
    last = [len(stand_in([captured(stage)], 100.0)[0].stages) for stage in (MOST_STAGES - 1, MOST_STAGES)]
    assert last == [MOST_STAGES, MOST_STAGES]
    with pytest.raises(NoStandIn, match="has a stage 51, and a stand-in 50 at most"):
        stand_in([captured(MOST_STAGES + 1)], 100.0)


def test_a_run_of_a_workflow_class_has_a_stand_in_too() -> None:
    """Its pipeline is recorded by the name of the class, and no definition may be called so."""
    pipeline, _ = stand_in([captured(pipeline="RefundWorkflow")], 100.0)
    assert list(pipeline_faults(pipeline)) == []
    with pytest.raises(NoStandIn, match="use lower-case words"):
        stand_in([captured(partner="Bank")], 100.0)


def test_a_stand_in_is_known_by_its_id() -> None:
    assert is_stand_in(new_stand_in_id("customer-7"))
    assert not any(map(is_stand_in, ("customer-7", "replay-1", "my-replay-0123abcd-x")))


@pytest.mark.system
@pytest.mark.parametrize("stage", [1, MOST_STAGES])
async def test_what_was_answered_comes_before_the_end_of_the_replay(real: WorkflowEnvironment, stage: int) -> None:
    runs, one = Runs(real.client), captured(stage)
    aim = StandIns(runs, [one], QUEUE)
    async with working(real.client, ScriptedPartner()), asyncio.TaskGroup() as group:
        claims = await aim.claims(one)
        group.create_task(signal(real, claims, "succeeded", after=1.0))
        assert await aim.late([answered(one, claims)]) == []
        await aim.aclose()
        settled = (await runs.progress(claims.workflow_id)).stages[stage - 1]
    assert (settled.outcome, settled.cause) == ("succeeded", "callback")


async def test_what_settles_nothing_is_waited_for_too(real: WorkflowEnvironment) -> None:
    """A progress, and a failure of an earlier call, are in the stage's ledger when they have come."""
    first = captured(body_digest="other")
    second, third = captured(attempt=2, issued_at=9), captured(attempt=2, issued_at=9)
    runs, ones = Runs(real.client), [first, second, third]
    aim, says = StandIns(runs, ones, QUEUE), ("failed", "progress", "ask")
    async with working(real.client, ScriptedPartner()), asyncio.TaskGroup() as group:
        claims = [await aim.claims(one) for one in ones]
        for one, status in zip(claims, says, strict=True):
            group.create_task(signal(real, one, status, after=0.5))
        sent = [answered(*each) for each in zip(ones, claims, says, strict=True)]
        assert await aim.late([*sent, sent[1]]) == [], "and the same again is one"
        await aim.aclose()
        [stage, _] = (await runs.progress(claims[0].workflow_id)).stages
    assert (stage.ledger_total, stage.outcome) == (3, "advanced")


async def test_a_stand_in_that_lacks_a_callback_stays_open_for_it(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_ins, "TAKEN_WITHIN", 0.3)
    runs, one, other = Runs(real.client), captured(), captured(chain_id="another", workflow_id="another")
    aim = StandIns(runs, [one, other], QUEUE)
    async with working(real.client, ScriptedPartner()):
        late, done = await aim.claims(one), await aim.claims(other)
        assert await aim.late([answered(one, late), replace(answered(other, done), answered=410)]) == [late.workflow_id]
        await aim.aclose()
        await real.client.get_workflow_handle(done.workflow_id).result()
        assert (await runs.describe(late.workflow_id)).status is WorkflowExecutionStatus.RUNNING


async def test_without_a_worker_what_is_in_the_history_has_come(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.runs.WORKER_ANSWERS_WITHIN", NO_WORKER)
    runs, one = Runs(real.client), captured()
    aim = StandIns(runs, [one], QUEUE)
    claims = await aim.claims(one)
    async with asyncio.TaskGroup() as group:
        group.create_task(signal(real, claims, "succeeded", after=1.0))
        assert await aim.late([answered(one, claims)]) == []
    await aim.aclose()
    async with working(real.client, ScriptedPartner()):
        stage = (await runs.progress(claims.workflow_id)).stages[0]
    assert (stage.outcome, stage.cause) == ("succeeded", "callback")


async def test_a_stand_in_that_has_ended_is_not_waited_for(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure ends it, and what comes for a later stage is too late, as it was for the captured run."""
    monkeypatch.setattr("receiver.replay.stand_ins.TAKEN_WITHIN", 10 * RUN_TIMEOUT)
    runs, ones = Runs(real.client), [captured(), captured(2)]
    aim = StandIns(runs, ones, QUEUE)
    async with working(real.client, ScriptedPartner()):
        claims = [await aim.claims(one) for one in ones]
        await signal(real, claims[0], "failed")
        sent = [answered(ones[0], claims[0], "failed"), answered(ones[1], claims[1])]
        async with asyncio.timeout(RUN_TIMEOUT):
            assert await aim.late(sent) == []
