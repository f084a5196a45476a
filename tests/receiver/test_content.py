"""What makes two callbacks the same: what they say, in answer to the same call."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from activities.callback_urls import Claims
from receiver.deliveries.content import earlier_request_id, request_id, said_digest, said_in
from workflows.contract import Answer, Callback

CLAIMS = Claims("run", "chain", 1, 1, "bank", 100, 200)
DONE = Answer("succeeded", {"a": 1, "b": [1, {"c": "é"}]})


@pytest.mark.parametrize(
    "other",
    [
        Answer("succeeded", {"b": [1, {"c": "é"}], "a": 1}),
        Answer("succeeded", {"a": 1.0, "b": (1, {"c": "\u00e9"})}),
        Answer("succeeded", json.loads('{"a": 1e0, "b": [1, {"c": "\\u00e9"}]}')),
    ],
    ids=["another order of keys", "another number type", "another spelling"],
)
def test_the_same_result_in_another_form_is_the_same(other: Answer) -> None:
    assert said_digest(other) == said_digest(DONE)


@pytest.mark.parametrize(
    "other",
    [
        Answer("failed", DONE.data),
        Answer("succeeded", DONE.data, code="1"),
        Answer("succeeded", DONE.data, message="1"),
        Answer("succeeded", {**DONE.data, "a": "1"}),
        Answer("succeeded", {**DONE.data, "a": True}),
        Answer("succeeded", {**DONE.data, "a": 1.5}),
        Answer("succeeded", {**DONE.data, "b": [{"c": "é"}, 1]}),
        Answer("succeeded", {**DONE.data, "d": None}),
    ],
)
def test_another_result_is_another(other: Answer) -> None:
    assert said_digest(other) != said_digest(DONE)


@pytest.mark.parametrize("changed", [{"chain_id": "x"}, {"stage": 2}, {"attempt": 2}, {"issued_at": 101}])
def test_the_same_result_of_another_call_is_another_callback(changed: dict[str, Any]) -> None:
    """A stage that is called again after a reset has the same attempt and is issued later."""
    said = said_digest(DONE)
    assert request_id(replace(CLAIMS, **changed), said) != request_id(CLAIMS, said)
    earlier = earlier_request_id(replace(CLAIMS, **changed), b"{}", DONE)
    assert earlier != earlier_request_id(CLAIMS, b"{}", DONE)


def test_a_signed_id_and_what_is_said_both_count() -> None:
    said, progress = said_digest(DONE), said_digest(Answer("progress"))
    ids = [request_id(CLAIMS, what, signed_id) for what in (said, progress) for signed_id in ("", "m-1", "m-2")]
    assert len(set(ids)) == 6


def test_a_kept_callback_of_any_version_is_read() -> None:
    kept = asdict(Callback(DONE, "chain", 1, 100))
    assert said_in(json.dumps(kept)) == said_digest(DONE)
    del kept["answer"]["code"]  # a field that an earlier version did not have
    assert said_in(json.dumps(kept)) == said_digest(DONE)


@pytest.mark.parametrize("kept", [None, "", "{", "{}", '{"answer": 1}', "[" * 100_000])
def test_a_callback_that_cannot_be_read_says_nothing(kept: str | None) -> None:
    assert said_in(kept) == ""


def test_earlier_versions_ids_are_made_as_they_made_them() -> None:
    """Recorded: rows and runs hold them."""
    assert earlier_request_id(CLAIMS, b'{"x": 1}', DONE) == OF_BYTES
    assert earlier_request_id(CLAIMS, b'{"x": 1}', DONE, "m-1") == OF_A_SIGNED_ID


OF_BYTES = "387237ad586ee262ad3fe42436e9216b125323c618d3520d77b622f8d416a13e"
OF_A_SIGNED_ID = "9cc6cd62a0fb3867930554fb40ff0bbe448b56cae1b330609bc71a056090c8cb"
