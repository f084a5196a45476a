"""ReviewedOnboarding: a pipeline that needs an `if`, as a class of its own."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from workflows.contract import PipelineResult
from workflows.pipeline import PipelineWorkflow
from workflows.pipelines import REVIEWED_ONBOARDING, WORKFLOW_TYPES


@workflow.defn(name=WORKFLOW_TYPES[REVIEWED_ONBOARDING.name])
class ReviewedOnboarding(PipelineWorkflow):
    """An onboarding in which a declined identity check goes to a manual review."""

    @workflow.init
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        """Run the stages. Takes one argument, a `PipelineRun`."""
        return await super().run(*args)

    async def run_stages(self) -> None:
        """Check the identity, have a person review it if the check fails, and order the card."""
        checked = await self.try_run_stage("identity-check")
        if checked.status == "failed":
            await self.run_stage("manual-review")
        await self.run_stage("card")
