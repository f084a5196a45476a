"""Workflow classes that tests run: a module of its own, because the sandbox imports it anew."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, ClassVar

from temporalio import workflow
from temporalio.common import RawValue

from workflows.contract import (
    PIPELINE_WORKFLOW,
    Outcome,
    Pipeline,
    PipelineResult,
    PipelineRun,
    Progress,
    Receipt,
    Stage,
    StageProgress,
)
from workflows.pipeline import PipelineWorkflow
from workflows.stage_run import StageRun
from workflows.staged import StagedWorkflow


@workflow.defn
class SideBySide(StagedWorkflow):
    """Two partners asked at once."""

    def __init__(self) -> None:
        super().__init__(last_stage=2)

    @workflow.run
    async def run(self) -> list[str]:
        stages = [Stage(number=n, name=f"side-{n}", partner=f"partner-{n}", timeout=3600.0) for n in (1, 2)]
        outcomes = await asyncio.gather(*(self.stage(stage) for stage in stages))
        return [outcome.status for outcome in outcomes]


@workflow.defn(name=PIPELINE_WORKFLOW)
class BeforeCommands:
    """The version before operators' commands, as far as a client sees it: a query, and no update."""

    @workflow.run
    async def run(self, run: Any) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def progress(self) -> Progress:
        waiting = StageProgress(number=1, name="step-1", partner="partner-1", state="waiting", attempts=1)
        return Progress("testing", "chain", [waiting], last_stage=1)


@workflow.defn(name=PIPELINE_WORKFLOW)
class BrokenPipeline(PipelineWorkflow):
    """A deploy that changed what runs do without a patch: a timer before the first call."""

    @workflow.init
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        await asyncio.sleep(1)
        return await super().run(*args)


class TrustingStageRun(StageRun):
    """Reads a result as a receipt, whatever it is."""

    def _read_call(self, calling: asyncio.Task[RawValue | None]) -> None:
        result = calling.result()
        assert result is not None
        workflow.payload_converter().from_payload(result.payload, Receipt)


@workflow.defn(name=PIPELINE_WORKFLOW)
class TrustingPipeline(PipelineWorkflow):
    """The version before results were read guardedly: what is not a receipt to the converter blocks the run."""

    _stage_run = TrustingStageRun

    @workflow.init
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        return await super().run(*args)


@workflow.defn(name=PIPELINE_WORKFLOW)
class EarlierPipeline(PipelineWorkflow):
    """The version before input was checked more strictly: it neither refuses nor records a patch."""

    @workflow.init
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        return await super().run(*args)

    @staticmethod
    def _is_strict() -> bool:
        return False


@workflow.defn
class WithChild(StagedWorkflow):
    """A stage whose work is another pipeline."""

    def __init__(self) -> None:
        super().__init__(last_stage=1)

    @workflow.run
    async def run(self, stage: Stage, child: PipelineRun) -> Outcome:
        return await self.run_child(stage, child)


@workflow.defn
class PipelineWithChild(PipelineWorkflow):
    """A pipeline whose only stage is the pipeline of a child; it continues as new."""

    @workflow.init
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        return await super().run(*args)

    async def run_stages(self) -> None:
        assert isinstance(self._run, PipelineRun)
        [stage] = self._run.pipeline.stages
        child = PipelineRun(Pipeline("child", [Stage(1, "inner", "partner", 3600.0)]))
        self._outcomes[stage.name] = await self.run_child(stage, child)


@workflow.defn
class Meddler(StagedWorkflow):
    """Advances one run, and cancels another."""

    def __init__(self) -> None:
        super().__init__(last_stage=1)

    @workflow.run
    async def run(self, advanced: str, cancelled: str) -> None:
        await self.advance_run(advanced, 1)
        await self.cancel_run(cancelled)


@workflow.defn(name="AtOnce")
class AtOnce(PipelineWorkflow):
    """Runs all stages at once, but for the last, so that an execution can have a stage in each state."""

    @workflow.init
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        assert isinstance(self._run, PipelineRun)
        *first, last = self._run.pipeline.stages
        outcomes = await asyncio.gather(*[self.try_stage(stage) for stage in first])
        outcomes.append(await self.try_stage(last))
        names = [stage.name for stage in self._run.pipeline.stages]
        return PipelineResult("at-once", dict(zip(names, outcomes, strict=True)))


@workflow.defn(name=PIPELINE_WORKFLOW)
class LastSeen(PipelineWorkflow):
    """Keeps what `progress` says, for a test that replays without the sandbox."""

    progress_of_the_last_run: ClassVar[Progress]

    @workflow.init
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    @workflow.run
    async def run(self, *args: Any) -> PipelineResult:
        return await super().run(*args)

    def _show(self) -> None:
        super()._show()
        type(self).progress_of_the_last_run = self.progress()


@workflow.defn
class FourSteps(StagedWorkflow):
    """Four activities, and a wait for an event after each of the first three."""

    def __init__(self) -> None:
        super().__init__(last_stage=3)

    @workflow.run
    async def run(self) -> list[str]:
        done = [await self.do("register", timedelta(seconds=45))]
        await self.advanced(1)
        done.append(await self.do("verify", timedelta(seconds=30)))
        await self.advanced(2)
        done.append(await self.do("provision", timedelta(minutes=15)))
        await self.advanced(3)
        done.append(await self.do("report", timedelta(hours=2)))
        return done

    async def do(self, name: str, start_to_close: timedelta) -> str:
        answer: str = await workflow.execute_activity(
            name, result_type=str, start_to_close_timeout=start_to_close, summary=name
        )
        return answer


@workflow.defn
class Unstaged:
    """A workflow that is not staged: it answers no `progress` query, and ends when it is told to."""

    def __init__(self) -> None:
        self._is_over = False

    @workflow.signal
    def end(self) -> None:
        self._is_over = True

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._is_over)


@workflow.defn
class ShortTokens(StagedWorkflow):
    """A class with tokens of version two that runs two pipelines: the first names no version, the second names one."""

    def __init__(self) -> None:
        super().__init__(last_stage=2, token_version=2)

    @workflow.run
    async def run(self) -> None:
        child = Pipeline("child", [Stage(number=1, name="only", partner="partner-1", timeout=60.0)])
        for number, version in ((1, 0), (2, 1)):
            stage = Stage(number=number, name=f"child-{number}", partner="child", timeout=60.0)
            await self.run_child(stage, PipelineRun(child, token_version=version))
