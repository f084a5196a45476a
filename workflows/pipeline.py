"""PipelineWorkflow: runs the definition in its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.checking import InvalidRun, NewerContract, read_run
from workflows.contract import PIPELINE_WORKFLOW, Carried, Outcome, PipelineResult, PipelineRun, Stage
from workflows.staged import StagedWorkflow

STRICTER_INPUT: Final = "stricter-input"
"""Patch that ends runs with unknown fields or deep nesting. Only the runs that it ends record its marker."""


@workflow.defn(name=PIPELINE_WORKFLOW)
class PipelineWorkflow(StagedWorkflow):
    """Runs a pipeline's stages in order, each with the data that it needs from earlier stages.

    Any client can start it with any input: an invalid definition ends the run at once with error type `InvalidRun`.
    """

    @workflow.init
    def __init__(self, *args: Any) -> None:
        # Signals are handled before `run` begins, so the last stage's number must be known here. An exception here
        # would block the run instead of ending it, so `run` raises the fault.
        self._run: PipelineRun | InvalidRun | NewerContract
        try:
            self._run = read_run(args, is_strict=self._is_strict)
        except (InvalidRun, NewerContract) as fault:
            self._run = fault
            super().__init__(last_stage=0)
        else:
            pipeline = self._run.pipeline
            super().__init__(last_stage=len(pipeline.stages), name=pipeline.name)
            self.announce(*pipeline.stages)
            self._go_on_with(self._run.carried)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        """Run the stages. Takes one argument, a `PipelineRun`."""
        if isinstance(self._run, InvalidRun):
            raise ApplicationError(str(self._run), *self._run.faults, type="InvalidRun", non_retryable=True)
        if isinstance(self._run, NewerContract):
            raise self._run  # this fails the workflow task, not the run
        pipeline = self._run.pipeline
        outcomes: dict[str, Outcome] = {}
        for stage in pipeline.stages:
            data = {wanted: _fetch(stage, source, self._run.input, outcomes) for wanted, source in stage.needs.items()}
            outcomes[stage.name] = await self.stage(stage, data)
        return PipelineResult(pipeline=pipeline.name, outcomes=outcomes)

    @staticmethod
    def _is_strict() -> bool:
        """Whether to refuse input that earlier versions accepted: only in the first execution of a chain.

        A later execution, after a reset or a continue-as-new, has the input of a run that has already begun.
        """
        info = workflow.info()
        return info.run_id == info.first_execution_run_id and workflow.patched(STRICTER_INPUT)

    def _go_on_with(self, carried: Carried | None) -> None:
        try:
            if carried is not None:
                self.take_over(carried)
        except Exception:
            # Any client could set `carried`. Whatever reading it raises, the run must end instead of blocking.
            self._run = InvalidRun(["carried is nothing that an execution of this version carries"])

    def carry_over(self, carried: Carried) -> NoReturn:
        """Continue as new, with the same definition and input."""
        assert isinstance(self._run, PipelineRun)
        workflow.continue_as_new(replace(self._run, carried=carried))


def _fetch(stage: Stage, source: str, given: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> Any:
    """Return the value of `input.FIELD` or `STAGE-NAME.FIELD`; end the run with `MissingData` if it is missing."""
    origin, _, part = source.partition(".")
    data = given if origin == "input" else outcomes[origin].data
    if part in data:
        return data[part]
    why = "" if origin == "input" else f": stage {origin} {outcomes[origin].status} without it"
    raise ApplicationError(
        f"stage {stage.number} {stage.name} needs {source}{why}",
        {"stage": stage.number, "name": stage.name, "field": source},
        type="MissingData",
        non_retryable=True,
    )
