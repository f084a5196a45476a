"""Which definitions are sound, and what is said of those that are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support import pipeline, stage
from workflows.checking import InvalidRun, check_run, pipeline_faults, read_run
from workflows.contract import Pipeline, PipelineRun
from workflows.pipelines import PIPELINES


@pytest.mark.parametrize("definition", PIPELINES.values(), ids=list(PIPELINES))
def test_every_shipped_pipeline_is_sound(definition: Pipeline) -> None:
    assert list(pipeline_faults(definition)) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"number": 2}, "number is 2"),
        ({"name": "Step One"}, "name 'Step One'"),
        ({"name": "input"}, "not `input`"),
        ({"partner": ""}, "partner ''"),
        ({"timeout": 0.0}, "timeout is 0.0"),
        ({"timeout": -1.0}, "timeout is -1.0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"call_timeout": 0.0}, "call_timeout"),
        ({"call_within": 1e12}, "call_within"),
        ({"longest_wait": float("nan")}, "longest_wait"),
        ({"on_timeout": "wait"}, "on_timeout is 'wait'"),
        ({"on_timeout": "retry"}, "attempts is 1"),
        ({"on_timeout": "retry", "attempts": 101}, "attempts is 101"),
        ({"attempts": 2}, "only on_timeout `retry`"),
        ({"needs": {"x": "input"}}, "needs x"),
        ({"needs": {"x": "step-1.found"}}, "needs x"),
        ({"needs": {"x": "later.found"}}, "needs x"),
    ],
)
def test_a_fault_is_named_with_its_stage(changes: dict[str, Any], fault: str) -> None:
    [found] = pipeline_faults(pipeline(replace(stage(1), **changes)))
    assert found.startswith("stage 1: ")
    assert fault in found


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(InvalidRun) as raised:
        check_run(PipelineRun(Pipeline("Bad Name", [stage(1, timeout=0.0), stage(1)])))
    assert len(raised.value.faults) == 4


def test_faults_stay_small_enough_to_be_reported() -> None:
    with pytest.raises(InvalidRun) as raised:
        check_run(PipelineRun(Pipeline("x" * 10_000, [stage(1, timeout=0.0)] * 40)))
    assert len(str(raised.value)) < 10_000
    assert raised.value.faults[-1].startswith("and ")


def test_names_are_unique() -> None:
    [found] = pipeline_faults(pipeline(stage(1), stage(2, name="step-1")))
    assert found == "stage 2: name 'step-1' is taken by an earlier stage"


def test_input_that_a_stage_needs_must_be_given() -> None:
    run = PipelineRun(pipeline(stage(1, needs={"who": "input.name"})), {})
    with pytest.raises(InvalidRun, match=r"input\.name is missing: stage 1 step-1 needs it"):
        check_run(run)


def test_a_run_written_by_another_client_reads_with_its_defaults() -> None:
    plain = {"pipeline": {"name": "x", "stages": [{"number": 1, "name": "a", "partner": "p", "timeout": 5}]}}
    [read] = read_run([plain]).pipeline.stages
    assert (read.timeout, read.on_timeout, read.attempts) == (5.0, "fail", 1)


def test_unknown_fields_of_a_newer_client_are_ignored() -> None:
    newer = {"number": 1, "name": "a", "partner": "p", "timeout": 5, "colour": "red"}
    assert read_run([{"pipeline": {"name": "x", "stages": [newer]}}]).pipeline.stages[0].name == "a"
