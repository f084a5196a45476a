"""PipelineWorkflow: runs the definition in its input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.checking import InvalidRun, NewerContract, read_run
from workflows.contract import (
    PIPELINE_WORKFLOW,
    TOKEN_VERSIONS,
    Carried,
    Outcome,
    PipelineResult,
    PipelineRun,
    Stage,
)
from workflows.definition import definition_digest
from workflows.other_runs import reporting
from workflows.staged import StagedWorkflow, StageFailed

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
        self._stages_by_name: dict[str, Stage] = {}
        self._outcomes: dict[str, Outcome] = {}
        try:
            self._run = read_run(args, is_strict=self._is_strict)
        except (InvalidRun, NewerContract) as fault:
            self._run = fault
            super().__init__(last_stage=0)
        else:
            pipeline = self._run.pipeline
            super().__init__(
                last_stage=len(pipeline.stages),
                name=pipeline.name,
                definition=definition_digest(pipeline),
                token_version=self._run.token_version if self._run.token_version in TOKEN_VERSIONS else 1,
            )
            self.announce(*pipeline.stages)
            self._stages_by_name = {stage.name: stage for stage in pipeline.stages}
            self._go_on_with(self._run.carried)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        """Run the stages. Takes one argument, a `PipelineRun`."""
        if isinstance(self._run, InvalidRun):
            raise ApplicationError(str(self._run), *self._run.faults, type="InvalidRun", non_retryable=True)
        if isinstance(self._run, NewerContract):
            raise self._run  # this fails the workflow task, not the run
        result: PipelineResult = await reporting(self._run.parent, self._result)
        return result

    async def _result(self) -> PipelineResult:
        await self.run_stages()
        return PipelineResult(pipeline=self._name, outcomes=self._outcomes)

    async def run_stages(self) -> None:
        """Run every stage in order. Override this in a class whose runs need an `if`."""
        for stage in self._stages_by_name.values():
            await self.run_stage(stage.name)

    async def run_stage(self, name: str) -> Outcome:
        """Run the stage with this name; raises `StageFailed` if its outcome is `failed`."""
        outcome = await self.try_run_stage(name)
        if outcome.status == "failed":
            raise StageFailed(self._stages_by_name[name], outcome)
        return outcome

    async def try_run_stage(self, name: str) -> Outcome:
        """Like `run_stage`, but return an outcome with the status `failed` instead of raising, for an `if`."""
        stage = self._stages_by_name.get(name)
        if stage is None:
            what = f"the run's pipeline has no stage {name}: start it with the definition in workflows/pipelines.py"
            raise ApplicationError(what, type="InvalidRun", non_retryable=True)
        data = {wanted: self._fetch(stage, source) for wanted, source in stage.needs.items()}
        self._outcomes[name] = await self.try_stage(stage, data)
        return self._outcomes[name]

    def _fetch(self, stage: Stage, source: str) -> Any:
        """Return the value of `input.FIELD` or `STAGE-NAME.FIELD`; end the run with `MissingData` if it is missing."""
        assert isinstance(self._run, PipelineRun)
        origin, _, part = source.partition(".")
        earlier = self._outcomes.get(origin)
        data = self._run.input if origin == "input" else earlier.data if earlier else {}
        if part in data:
            return data[part]
        how = f"{earlier.status} without it" if earlier else "did not run"
        raise ApplicationError(
            f"stage {stage.number} {stage.name} needs {source}"
            + ("" if origin == "input" else f": stage {origin} {how}"),
            {"stage": stage.number, "name": stage.name, "field": source},
            type="MissingData",
            non_retryable=True,
        )

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
