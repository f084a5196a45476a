"""Which definitions are sound, and what is said of those that are not."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import nested, pipeline, stage
from workflows.checking import (
    LARGEST_DEFINITION,
    InvalidRun,
    NewerContract,
    check_run,
    pipeline_faults,
    read_run,
)
from workflows.contract import CONTRACT, Pipeline, PipelineRun, Stage, contract_of, for_older_workers
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
        ({"on_failure": "wait"}, "on_failure is 'wait'"),
        ({"on_failure": "retry"}, "attempts is 1"),
        ({"retry_pause": -1.0}, "retry_pause is -1.0: use seconds, 0 for no pause"),
        ({"escalate_within": float("nan")}, "escalate_within"),
        ({"escalate_within": 1e12}, "escalate_within"),
        ({"ask_every": 0.5}, "ask_every is 0.5: use 1 seconds or more"),
        ({"ask_every": float("inf")}, "ask_every"),
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


def plain(**more: Any) -> dict[str, Any]:
    """A run as another client writes it, its only stage with these fields besides."""
    return {"pipeline": {"name": "x", "stages": [{"number": 1, "name": "a", "partner": "p", "timeout": 5, **more}]}}


@pytest.mark.parametrize(
    ("argument", "fault"),
    [
        (plain(onTimeout="skip"), "unknown field 'onTimeout' of stage 1: did you mean on_timeout?"),
        (plain(timeuot=3), "unknown field 'timeuot' of stage 1: did you mean timeout?"),
        (plain(colour="red"), "unknown field 'colour' of stage 1: use number, name, partner, timeout, on_timeout"),
        (plain(**{"x" * 400: 1}), f"unknown field '{'x' * 40}' of stage 1: use number"),
        ({**plain(), "inputs": {"a": 1}}, "unknown field 'inputs' of the run: did you mean input?"),
        ({"pipeline": {**plain()["pipeline"], "v": 2}}, "unknown field 'v' of the pipeline: use name, stages"),
        ({**plain(), "input": {"x": nested(65)}}, "input is nested more than 64 levels deep"),
        ({**plain(), "input": nested(700)}, "input is nested more than 64 levels deep"),
        ({**plain(), "carried": nested(73)}, "the argument is nested more than 72 levels deep"),
    ],
)
def test_what_only_the_written_run_shows_is_refused_if_it_is_new(argument: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidRun) as raised:
        read_run([argument])
    assert raised.value.faults[0].startswith(fault)


def test_a_run_that_is_not_new_is_not_refused_for_it() -> None:
    deep = {"x": nested(100)}
    read = read_run([{**plain(onTimeout="skip"), "input": deep}], is_strict=lambda: False)
    assert (read.pipeline.stages[0].name, read.input) == ("a", deep)


def test_nobody_asks_whether_a_sound_run_is_new() -> None:
    """The answer is recorded in the run's history, where a roll-back would stumble over it."""

    def unexpected() -> bool:
        raise AssertionError

    read_run([{**plain(beside=[], label="", then=None), "input": {"x": nested(63)}}], is_strict=unexpected)


def test_many_unknown_fields_are_counted() -> None:
    with pytest.raises(InvalidRun) as raised:
        read_run([plain(**{f"field-{n}": 1 for n in range(100)})])
    assert raised.value.faults[5:] == ["95 more unknown fields of stage 1"]


def test_an_undecodable_argument_is_refused_with_its_reason() -> None:
    with pytest.raises(InvalidRun, match=r"cannot be decoded \(no JSON\): send a PipelineRun as JSON"):
        read_run([ValueError("no JSON")])


def test_a_new_definition_with_too_large_calls_is_refused() -> None:
    large = plain(needs={"x": "input." + "y" * LARGEST_DEFINITION})
    with pytest.raises(InvalidRun, match="the pipeline is larger than 131072 bytes"):
        read_run([large])
    with pytest.raises(InvalidRun, match="the pipeline is larger than 131072 bytes"):
        check_run(PipelineRun(pipeline(stage(1, name="a" * LARGEST_DEFINITION))))
    read_run([plain(name="a" * LARGEST_DEFINITION)], is_strict=lambda: False)


def test_a_client_refuses_deeply_nested_input() -> None:
    check_run(PipelineRun(pipeline(stage(1)), {"x": nested(63)}))
    with pytest.raises(InvalidRun, match="input is nested more than 64 levels deep"):
        check_run(PipelineRun(pipeline(stage(1)), {"x": nested(5_000)}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
) | st.integers(1, 400).map(nested)
written_stages = st.fixed_dictionaries(
    {},
    optional={
        **{field.name: values for field in fields(Stage)},
        "number": st.just(1) | values,
        "name": st.just("a") | values,
        "partner": st.just("p") | values,
        "timeout": st.just(5) | values,
        "onTimeout": values,
    },
)
written_runs = st.fixed_dictionaries(
    {
        "pipeline": st.fixed_dictionaries(
            {"name": st.just("x"), "stages": st.lists(written_stages, max_size=2) | values}
        )
    },
    optional={"input": values, "carried": values, "more": values},
)


@given(args=st.lists(written_runs | values, max_size=2), strict=st.booleans())
def test_whatever_a_run_is_started_with_is_read_or_refused(args: list[Any], *, strict: bool) -> None:
    read: PipelineRun | InvalidRun
    try:
        read = read_run(args, is_strict=lambda: strict)
    except InvalidRun as refused:
        read = refused
    if isinstance(read, InvalidRun):
        assert read.faults
        json.dumps([str(read), read.faults], ensure_ascii=False).encode()
    else:
        assert list(pipeline_faults(read.pipeline)) == []


def test_thousands_of_fields_are_counted_and_not_compared() -> None:
    """In a workflow task, which has two seconds; each name is compared with those that were meant."""
    with pytest.raises(InvalidRun, match=r"stage 1 has [0-9]+ fields: use number, name"):
        read_run([plain(**{f"field-{n}": 1 for n in range(1_001)})])


def test_a_plain_definition_needs_no_contract_and_runs_anywhere() -> None:
    retried = pipeline(stage(1), stage(2, on_timeout="retry", attempts=2))
    assert contract_of(retried) == 0
    assert list(for_older_workers(retried).stages) == list(retried.stages)


@pytest.mark.parametrize(
    "changes",
    [
        {"on_timeout": "escalate"},
        {"on_failure": "skip"},
        {"retry_pause": 1.0, "on_timeout": "retry", "attempts": 2},
        {"ask_every": 60.0},
    ],
    ids=str,
)
def test_a_definition_with_later_policies_needs_contract_one(changes: dict[str, Any]) -> None:
    assert contract_of(pipeline(stage(1, **changes))) == CONTRACT == 1


def test_older_workers_fail_where_a_person_would_decide() -> None:
    escalating = pipeline(stage(1, on_timeout="escalate", on_failure="escalate", escalate_within=60.0))
    assert for_older_workers(escalating).stages == [stage(1)]


@pytest.mark.parametrize("contract", [1, 2])
def test_what_a_newer_contract_says_is_left_to_newer_workers(contract: int) -> None:
    argument = {**plain(on_failure="ask-the-boss", colour="red"), "contract": contract}
    with pytest.raises(NewerContract if contract > CONTRACT else InvalidRun, match="colour"):
        read_run([argument])


def test_a_newer_contract_runs_if_it_says_nothing_new() -> None:
    assert read_run([{**plain(), "contract": 99}]).contract == 99


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_run_names_the_version_of_its_tokens(version: int) -> None:
    assert read_run([{**plain(), "token_version": version}]).token_version == version


@pytest.mark.parametrize("version", [3, -1])
def test_an_unknown_token_version_is_refused_if_the_run_is_new(version: int) -> None:
    argument = {**plain(), "token_version": version}
    with pytest.raises(InvalidRun, match=f"token_version is {version}: use 1 or 2, or 0 for 1"):
        read_run([argument])
    assert read_run([argument], is_strict=lambda: False).token_version == version
