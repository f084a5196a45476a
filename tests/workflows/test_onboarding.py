"""The shipped class with an `if`: a declined identity check goes to a manual review."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.runs import Runs
from tests.parts.junk import junk_until_continued
from tests.support import (
    QUEUE,
    Handle,
    ScriptedPartner,
    call_back,
    failure_of,
    pipeline,
    progress_of,
    result_of,
    stage,
    waiting,
    working,
)
from workflows.contract import ADVANCE_STAGE, Answer, Pipeline
from workflows.pipelines import REVIEWED_ONBOARDING, WORKFLOW_TYPES

GIVEN = {"full_name": "ada lovelace", "date_of_birth": "1815-12-10"}
DECLINED = Answer("failed", code="no-match", message="another face")


async def begin(env: WorkflowEnvironment, definition: Pipeline = REVIEWED_ONBOARDING, **given: Any) -> Handle:
    kind = WORKFLOW_TYPES[REVIEWED_ONBOARDING.name]
    return await Runs(env.client).start(definition, given or GIVEN, task_queue=QUEUE, workflow_type=kind)


async def answer(handle: Handle, partner: ScriptedPartner, number: int, said: Answer | None = None) -> None:
    await waiting(handle, number)
    await call_back(handle, partner.calls[-1], said)


async def test_a_declined_check_goes_to_a_review(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await begin(skipping)
        await answer(handle, partner, 1, DECLINED)
        await answer(handle, partner, 2)
        await answer(handle, partner, 3)
        outcomes = (await result_of(handle)).outcomes
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "identity-check": "failed",
        "manual-review": "succeeded",
        "card": "succeeded",
    }


async def test_a_check_that_succeeds_needs_no_review(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await begin(skipping)
        await answer(handle, partner, 1)
        await answer(handle, partner, 3)
        outcomes = (await result_of(handle)).outcomes
        progress = await progress_of(handle)
    assert set(outcomes) == {"identity-check", "card"}
    assert [one.state for one in progress.stages] == ["settled", "pending", "settled"]
    assert [call.stage for call in partner.calls] == [1, 3]


async def test_a_declined_review_fails_the_run(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await begin(skipping)
        await answer(handle, partner, 1, DECLINED)
        await answer(handle, partner, 2, DECLINED)
        error = await failure_of(handle)
    assert (error.type, error.message) == (
        "StageFailed",
        "stage 2 manual-review: partner identity: no-match: another face",
    )


async def test_a_run_with_other_stages_ends_instead_of_blocking(skipping: WorkflowEnvironment) -> None:
    """Any client can start a class with any definition."""
    async with working(skipping.client, ScriptedPartner()):
        error = await failure_of(await begin(skipping, pipeline(stage(1))))
    assert error.type == "InvalidRun"
    assert "the run's pipeline has no stage identity-check" in error.message


async def test_data_of_a_stage_that_did_not_run_is_missing(skipping: WorkflowEnvironment) -> None:
    stages = [*REVIEWED_ONBOARDING.stages[:2], replace(REVIEWED_ONBOARDING.stages[2], needs={"x": "manual-review.y"})]
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await begin(skipping, replace(REVIEWED_ONBOARDING, stages=stages))
        await answer(handle, partner, 1)
        error = await failure_of(handle)
    assert (error.type, error.message) == (
        "MissingData",
        "stage 3 card needs manual-review.y: stage manual-review did not run",
    )


@pytest.mark.system
async def test_a_branch_is_kept_when_a_run_continues_as_new(restless: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(restless.client, partner):
        handle = await begin(restless)
        await answer(handle, partner, 1, DECLINED)
        await waiting(handle, 2)
        await junk_until_continued(restless, handle)
        latest: Handle = restless.client.get_workflow_handle(handle.id)
        await waiting(latest, 2)
        await call_back(latest, partner.calls[-1])
        await waiting(latest, 3)
        await latest.signal(ADVANCE_STAGE, 3)
        outcomes = (await result_of(handle)).outcomes
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "identity-check": "failed",
        "manual-review": "succeeded",
        "card": "advanced",
    }
    assert [call.stage for call in partner.calls] == [1, 2, 3]


@pytest.mark.parametrize("callback", [DECLINED, Answer("succeeded")])
async def test_an_early_advance_past_all_stages_skips_the_review(
    skipping: WorkflowEnvironment, callback: Answer
) -> None:
    """`advance_stage` ends waits: the check is then neither failed nor succeeded, and the review is not called."""
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await begin(skipping)
        await waiting(handle, 1)
        await handle.signal(ADVANCE_STAGE, 3)
        await call_back(handle, partner.calls[0], callback)
        outcomes = (await asyncio.wait_for(result_of(handle), 60)).outcomes
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "identity-check": "advanced",
        "card": "advanced",
    }
