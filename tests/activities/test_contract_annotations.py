"""The contract's annotations as types: nothing is compiled at a conversion, and each class is converted as before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from typing import get_type_hints

import pytest
from temporalio.converter import value_to_type

from activities.annotations import resolve_annotations
from activities.worker import workflow_runner
from workflows import contract
from workflows.contract import Answer, Callback, Pipeline, PipelineRun, Stage

CLASSES = [value for value in vars(contract).values() if isinstance(value, type) and is_dataclass(value)]


@pytest.mark.parametrize("prepare", [workflow_runner, resolve_annotations])
def test_no_annotation_is_text_once_a_process_is_prepared(prepare: Callable[[], object]) -> None:
    assert len(CLASSES) > 10
    before = {one: get_type_hints(one) for one in CLASSES}
    prepare()
    for one in CLASSES:
        assert not [name for name, type_ in vars(one)["__annotations__"].items() if isinstance(type_, str)]
        assert get_type_hints(one) == before[one]
        assert {field.name for field in fields(one)} <= set(before[one])


def test_what_is_exchanged_is_converted_as_before() -> None:
    resolve_annotations()
    callback = Callback(Answer("failed", {"n": [1, None]}, code="late"), "chain", 2, 3)
    run = PipelineRun(
        Pipeline("p", [Stage(1, "a", "bank", timeout=60.0), Stage(2, "b", "bank", timeout=1.5)]), {"in": {"x": 1}}
    )
    for one in (callback, run):
        assert value_to_type(type(one), asdict(one)) == one
