"""A workflow class of its own module, because the sandbox imports it again."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from workflows.contract import PIPELINE_WORKFLOW, PipelineResult
from workflows.pipeline import PipelineWorkflow


@workflow.defn(name=PIPELINE_WORKFLOW)
class PatchedPipeline(PipelineWorkflow):
    """A deploy that marks every run with a patch, which no version before it knows."""

    @workflow.init
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        workflow.patched("a-change")
        return await super().run(*args)
