"""What travels stays readable: for old histories, for other clients, between our own parts."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import pytest
from temporalio.converter import DataConverter, value_to_type

from activities.calls import PartnerCalls
from tests.support import pipeline, stage
from workflows import contract
from workflows.contract import (
    Answer,
    Callback,
    Outcome,
    PartnerActivities,
    PipelineRun,
    Progress,
    Question,
    Receipt,
    StageCall,
)

TRAVELS = [
    kind for _, kind in inspect.getmembers(contract, dataclasses.is_dataclass) if kind.__module__ == contract.__name__
]


@pytest.mark.parametrize("kind", TRAVELS)
def test_what_travels_is_frozen_and_not_checked_on_construction(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
    assert not hasattr(kind, "__post_init__")


@pytest.mark.parametrize(
    "value",
    [
        PipelineRun(pipeline(stage(1), stage(2)), {"a": [1, None, "x"]}),
        StageCall("w", "c", 1, "step", "bank", 1, 5, 6, {"a": 1}),
        Receipt("ref", "key", Answer("succeeded", {"a": 1})),
        Question(StageCall("w", "c", 1, "step", "bank", 1, 5, 6), "ref"),
        Callback(Answer("failed", code="x", message="y"), "c", 1, 5),
        Callback(Answer("ask"), "c", 1, 5),
        Outcome("succeeded", "callback", 1.5, 1, {"a": {"b": 2}}),
    ],
)
async def test_what_travels_comes_back_as_it_was(value: Any) -> None:
    payloads = await DataConverter.default.encode([value])
    [back] = await DataConverter.default.decode(payloads, [type(value)])
    assert json.dumps(dataclasses.asdict(back)) == json.dumps(dataclasses.asdict(value))


def test_the_progress_that_an_older_worker_answers_is_read() -> None:
    stage = {"number": 1, "name": "step", "partner": "bank", "state": "settled", "outcome": "succeeded"}
    read = value_to_type(Progress, {"pipeline": "testing", "chain_id": "c", "stages": [stage]})
    assert [(known.reference, known.outcome_attempt) for known in read.stages] == [("", 0)]


def test_the_activities_are_those_that_workflows_ask_for() -> None:
    """mypy ties the types; the names by which Temporal finds them are tied here."""
    name = "__temporal_activity_definition"
    asked = {getattr(member, name).name for member in vars(PartnerActivities).values() if hasattr(member, name)}
    done = {getattr(member, name).name for member in vars(PartnerCalls).values() if hasattr(member, name)}
    assert asked == done == {"call_partner", "ask_partner"}


def test_a_stage_knows_how_long_it_can_be_open() -> None:
    one = stage(1, timeout=100.0, call_within=10.0, call_timeout=5.0, longest_wait=200.0)
    assert one.longest_open == 215.0
    three = dataclasses.replace(one, on_timeout="retry", attempts=3, longest_wait=0.0)
    assert three.longest_open == 3 * 1015.0
