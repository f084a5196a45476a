"""What a partner's file returns travels only if every reader of a history can take it."""

from __future__ import annotations

import enum
import json
import math
from asyncio import CancelledError
from collections import OrderedDict
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.environment import Environment
from activities.partners import answers, bank, cards, esign, identity, sandbox
from activities.partners.answers import BrokenAnswer, checked, checked_reference
from activities.partners.events import NOT_OURS, Event
from activities.partners.reading import object_or_empty, text_at, text_or_empty
from activities.partners.received import Received, Unreadable
from workflows.contract import LARGEST_OUTCOME, Answer
from workflows.nesting import MOST_LEVELS, is_deeper


def answer(**parts: Any) -> Any:
    return Answer(**{"status": "succeeded", **parts})


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value |= {"a": value, "b": value}
    return value


def doubled() -> dict[str, Any]:
    value: Any = []
    for _ in range(50):
        value = [value, value]
    return {"x": value}


class Code(enum.StrEnum):
    REFUSED = "refused"


BROKEN = {
    "nothing": None,
    "a dict": {"status": "succeeded"},
    "a text": "succeeded",
    "the class": Answer,
    "an unknown status": answer(status="done"),
    "no status": answer(status=None),
    "a status in a list": answer(status=["succeeded"]),
    "a number as code": answer(code=1042),
    "a truth as code": answer(code=True),
    "null as code": answer(code=None),
    "bytes as code": answer(code=b"c"),
    "an object as message": answer(message={"step": 2}),
    "a list as message": answer(message=["m"]),
    "null as message": answer(message=None),
    "a surrogate in the code": answer(code="\ud83d"),
    "a surrogate in the message": answer(message="declined by Zoe \ud83d"),
    "a list as data": answer(data=[]),
    "a text as data": answer(data="{}"),
    "null as data": answer(data=None),
    "a number as data": answer(data=1),
    "NaN": answer(data={"x": math.nan}),
    "NaN within": answer(data={"x": [{"y": math.nan}]}),
    "infinity": answer(data={"x": math.inf}),
    "minus infinity": answer(data={"x": -math.inf}),
    "a surrogate within": answer(data={"x": ["\udcff"]}),
    "a surrogate as key": answer(data={"\ud800": 1}),
    "a number as key": answer(data={1: 1}),
    "null as key within": answer(data={"x": {None: 1}}),
    "bytes within": answer(data={"x": b"y"}),
    "a set": answer(data={"x": {1}}),
    "a decimal": answer(data={"x": Decimal(1)}),
    "an answer within": answer(data={"x": answer()}),
    "a number without end": answer(data={"x": 10**5000}),
    "nested too deep": answer(data={"x": nested(MOST_LEVELS)}),
    "nested without end": answer(data=endless()),
    "doubled 50 times": answer(data=doubled()),
    "too large data": answer(data={"x": "y" * LARGEST_OUTCOME}),
    "too many values": answer(data={"x": [0] * LARGEST_OUTCOME}),
    "too large a message": answer(message="m" * LARGEST_OUTCOME),
    "too large as JSON": answer(status="failed", message="☺" * (LARGEST_OUTCOME // 6)),
}


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_a_value_that_cannot_travel_is_broken(value: Any) -> None:
    with pytest.raises(BrokenAnswer) as error:
        checked(value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (answer(code=1042), "Answer.code is an int"),
        (answer(message=None), "Answer.message is null"),
        (answer(data=[]), "Answer.data is a list"),
        (answer(data={"secret-name": math.nan}), "Answer.data holds NaN"),
        ({}, "expected an Answer, got a dict"),
    ],
)
def test_the_error_names_the_field_and_quotes_no_value(value: Any, field: str) -> None:
    with pytest.raises(BrokenAnswer, match=field) as error:
        checked(value)
    assert "secret" not in str(error.value)
    assert "1042" not in str(error.value)


TRAVELLING = {
    "nothing but its status": answer(),
    "all kinds": answer(data={"a": [1, -1.5, True, None, "ü", {"b": []}], "": {}}),
    "as deep as a run takes": answer(data={"x": nested(MOST_LEVELS - 1)}),
    "as large as may be": answer(data={"x": "y" * (LARGEST_OUTCOME - 19)}),
    "NUL": answer(code="a\0b"),
}


@pytest.mark.parametrize("value", TRAVELLING.values(), ids=TRAVELLING)
def test_every_other_answer_stays_as_it_is(value: Answer) -> None:
    assert checked(value) == value


@pytest.mark.parametrize("levels", range(MOST_LEVELS - 2, MOST_LEVELS + 3))
@pytest.mark.parametrize("innermost", [1, [], {}])
def test_an_answer_is_broken_where_a_run_would_ignore_it(levels: int, innermost: Any) -> None:
    data: dict[str, Any] = {"x": innermost}
    for _ in range(levels):
        data = {"x": data}
    try:
        checked(answer(data=data))
    except BrokenAnswer:
        assert is_deeper(data)
    else:
        assert not is_deeper(data)


def test_other_kinds_of_dict_list_and_text_become_plain_ones() -> None:
    data = MappingProxyType({"a": OrderedDict(b=(1, 2)), "c": Code.REFUSED})
    plain = checked(answer(data=data, code=Code.REFUSED))
    assert json.dumps(plain.data) == '{"a": {"b": [1, 2]}, "c": "refused"}'
    assert (type(plain.data), type(plain.data["a"]), type(plain.code)) == (dict, dict, str)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner) | st.tuples(inner),
    max_leaves=15,
)


@given(VALUES, VALUES, VALUES, VALUES)
def test_whatever_it_is_it_travels_or_is_broken(status: Any, data: Any, code: Any, message: Any) -> None:
    try:
        plain = checked(Answer(status, data, code, message))
    except BrokenAnswer:
        return
    again = json.loads(json.dumps([plain.data, plain.code, plain.message], allow_nan=False).encode())
    assert again == [plain.data, plain.code, plain.message]


@given(st.dictionaries(st.text(), VALUES), st.text(st.characters()))
def test_whatever_the_data_is_it_travels_or_is_broken(data: Any, code: Any) -> None:
    try:
        plain = checked(Answer("failed", data, code))
    except BrokenAnswer:
        return
    assert json.loads(json.dumps(plain.data, allow_nan=False).encode()) == plain.data


@pytest.mark.parametrize(("given_", "text"), [(None, ""), (1042, "1042"), ("", ""), ("w-1", "w-1")])
def test_a_reference_becomes_text(given_: Any, text: str) -> None:
    assert checked_reference(given_) == text


@pytest.mark.parametrize("given_", [True, 1.5, [], b"w", "\ud800", pytest.param(10**5000, id="long")])
def test_any_other_reference_is_broken(given_: Any) -> None:
    with pytest.raises(BrokenAnswer):
        checked_reference(given_)


def test_an_exceptions_text_is_short_utf8_without_a_token() -> None:
    assert answers.words_of(Unreadable("\ud800" + "x" * 1000)) == "?" + "x" * 299


# --- the readers, and the samples on what partners really send


ODD: list[Any] = [None, 1042, 1.5, True, [], {}, {"step": 2}, "", "text"]


@pytest.mark.parametrize("value", ODD)
def test_what_the_readers_give_travels(value: Any) -> None:
    text = text_or_empty({"x": value}, "x")
    assert checked(answer(code=text)).code == (str(value) if value in (1042, "text") and value is not True else "")


def test_a_whole_number_is_read_as_its_digits() -> None:
    assert text_at({"id": 1042}, "id") == "1042"
    with pytest.raises(Unreadable):
        text_at({"id": True}, "id")


def test_an_object_that_is_missing_or_null_is_empty() -> None:
    assert object_or_empty({}, "a") == object_or_empty({"a": None}, "a") == {}
    assert object_or_empty({"a": {"b": {"c": 1}}}, "a", "b") == {"c": 1}
    with pytest.raises(Unreadable):
        object_or_empty({"a": []}, "a")


def sandbox_body(value: Any) -> Any:
    return {"status": "failed", "data": None, "error": {"code": value, "message": value}}


SAMPLES = {
    "identity": (identity.read_event, lambda v: {"data": {"attributes": {"name": "inquiry.declined", "note": v}}}),
    "bank": (bank.read_event, lambda v: {"type": "verification.failed", "data": {"code": v, "message": v}}),
    "bank without data": (bank.read_event, lambda v: {"type": "verification.failed", "data": v}),
    "esign": (
        esign.read_event,
        lambda v: {
            "event": "envelope-declined",
            "data": {"envelopeSummary": {"declinedCode": v, "declinedReason": v}},
        },
    ),
    "cards": (cards.read_event, lambda v: {"card": {"state": "REJECTED", "reason_code": v, "reason": v}}),
    "sandbox": (sandbox.read_event, sandbox_body),
}


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_sample_reads_a_failure_with_any_code_and_reason(sample: Any, value: Any) -> None:
    read, write = sample
    read_back = checked(read(Received(json.dumps(write(value)).encode())).answer)
    assert read_back.status in {"failed", "ask"}
    assert read_back.code != "None"


def test_a_sample_keeps_a_code_that_is_a_number() -> None:
    event = bank.read_event(Received(b'{"type": "verification.failed", "data": {"code": 1042}}'))
    assert event.answer.code == "1042"


class Panic(BaseException):
    """As PyO3 raises it for a panic of a library in Rust."""


@pytest.mark.parametrize("error", [SystemExit(1), Panic(), CancelledError(), GeneratorExit()])
def test_whatever_a_file_raises_is_broken(error: BaseException) -> None:
    def read(received: Received) -> Any:
        raise error

    partner = replace(sandbox.partner("sandbox", Environment({})), read_event=read, split=read)
    for border in (answers.read_event, answers.split):
        with pytest.raises(BrokenAnswer, match=f"raised {type(error).__name__}"):
            border(partner, Received(b"{}"))


@pytest.mark.parametrize(
    "returned",
    [
        None,
        "NOT_OURS",
        Answer("progress"),
        [Event(Answer("ask"))],
        Event(None),  # type: ignore[arg-type]
        Event(Answer("ask"), token=None),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_an_event_is_broken(returned: Any) -> None:
    partner = replace(sandbox.partner("sandbox", Environment({})), read_event=lambda received: returned)
    with pytest.raises(BrokenAnswer):
        answers.read_event(partner, Received(b"{}"))


def test_a_reference_that_is_a_number_is_read_as_its_digits() -> None:
    def read(received: Received) -> Event:
        return Event(Answer("ask"), reference=42)  # type: ignore[arg-type]

    partner = replace(sandbox.partner("sandbox", Environment({})), read_event=read)
    event = answers.read_event(partner, Received(b"{}"))
    assert event is not None
    assert event.reference == "42"


def test_an_event_that_is_not_ours_is_none() -> None:
    partner = replace(sandbox.partner("sandbox", Environment({})), read_event=lambda received: NOT_OURS)
    assert answers.read_event(partner, Received(b"{}")) is None


def test_parts_that_were_not_made_by_the_request_are_broken() -> None:
    partner = replace(sandbox.partner("sandbox", Environment({})), split=lambda received: [received])  # type: ignore[list-item]
    with pytest.raises(BrokenAnswer, match=r"received\.part"):
        answers.split(partner, Received(b"{}"))


def test_a_file_that_raises_is_broken_with_its_error_as_cause() -> None:
    def read(received: Received) -> Event:
        raise KeyError("status")

    partner = replace(sandbox.partner("sandbox", Environment({})), read_event=read)
    with pytest.raises(BrokenAnswer, match="read_event raised KeyError") as error:
        answers.read_event(partner, Received(b"{}"))
    assert isinstance(error.value.__cause__, KeyError)
