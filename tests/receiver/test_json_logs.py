"""The log for machines: one JSON object a line, whatever texts from elsewhere are in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.runtime import LogForwardingConfig

from receiver.logs import LONGEST_FACT, LONGEST_TRACEBACK, JSONFormatter
from tests.parts.callbacks import CLAIMS, URLS
from tests.parts.hostile_errors import ERRORS, FORGED, HOSTILE, chained, raised

NOT_JSON = "not JSON: "


class Unreadable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def parsed(text: str) -> dict[str, Any]:
    """The line as a strict reader takes it: one line of ASCII, no key twice, no NaN."""
    assert text.isascii()
    assert text.isprintable()
    line: dict[str, Any] = json.loads(text, object_pairs_hook=once, parse_constant=lambda name: NOT_JSON + name)
    return line


def line(message: str = "event", *args: Any, error: BaseException | None = None, **facts: Any) -> dict[str, Any]:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("stagehook", logging.ERROR, "x.py", 1, message, args, exc_info)
    record.created, record.msecs = 1_767_323_045.678, 678.0
    vars(record).update(facts)
    return parsed(JSONFormatter().format(record))


def test_a_line_has_its_time_level_logger_event_and_facts() -> None:
    assert line(stage=2, why="two words") == {
        "time": "2026-01-02T03:04:05.678Z",
        "level": "ERROR",
        "logger": "stagehook",
        "event": "event",
        "stage": 2,
        "why": "two words",
    }


@pytest.mark.parametrize("value", [0, -1, 2**53, 1.5, True, False, None, "é", "", [1, "a", None], {"a": {"b": [0.5]}}])
def test_a_fact_keeps_its_type(value: Any) -> None:
    kept = line(fact=value)["fact"]
    assert (kept, type(kept)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**63, str(2**63)),
        (b"x", "b'x'"),
        (Unreadable(), "a Unreadable"),
        ({1: [{2: [{3: 4}]}]}, {"1": [{"2": ["{3: 4}"]}]}),
    ],
    ids=["nan", "inf", "large", "bytes", "unreadable", "deep"],
)
def test_what_json_cannot_say_is_text(value: Any, text: Any) -> None:
    assert line(fact=value)["fact"] == text


@pytest.mark.parametrize("name", ["time", "level", "logger", "event", "traceback"])
def test_no_fact_takes_the_place_of_a_field(name: str) -> None:
    shown = line(error=raised(ValueError("x")), **{name: "forged"})
    assert shown[f"{name}_"] == "forged"
    assert shown[name] != "forged"


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
def test_an_exception_is_one_field_with_printable_lines(make: Callable[[str], BaseException]) -> None:
    shown = line(error=make(HOSTILE))
    assert shown["event"] == "event"
    assert all(one.isprintable() for one in shown["traceback"].split("\n"))
    assert FORGED not in shown["traceback"].split("\n")


def test_a_traceback_shows_its_frames() -> None:
    lines = line(error=chained("why"))["traceback"].split("\n")
    assert any(__name__.split(".")[0] in one and "hostile_errors.py" in one for one in lines)
    assert lines[-1] == "ValueError: why"


def test_hostile_text_is_harmless_even_when_decoded() -> None:
    facts: dict[str, Any] = {"why": HOSTILE, "nested": {HOSTILE: [HOSTILE]}, HOSTILE: 1}
    shown = line(HOSTILE, **facts)
    texts = [shown["event"], shown["why"], *shown, *shown["nested"], *next(iter(shown["nested"].values()))]
    assert all(text.isprintable() for text in texts)
    assert shown["why"].startswith("bad\\n2026")


def test_no_text_brings_a_callback_token_into_the_log() -> None:
    url = URLS.issue(CLAIMS)
    shown = line(f"at {url}", error=raised(KeyError(url)), why=url, nested={url: [url]})
    text = json.dumps(shown)
    assert url.rpartition("/")[2] not in text
    assert text.count("[removed]") == 5


def test_long_texts_are_cut() -> None:
    error = raised(ValueError("x" * 1_000_000))
    for _ in range(10_000):
        error.add_note("note")
    shown = line(error=error, why="x" * 1_000_000)
    assert len(shown["traceback"]) <= LONGEST_TRACEBACK
    assert len(shown["why"]) == LONGEST_FACT


def test_arguments_that_do_not_fit_their_message_are_no_error() -> None:
    assert line("%d of %s", "x")["event"] == "%d of %s"


def test_the_ids_of_temporals_sdk_are_facts_of_their_own() -> None:
    shown = line(temporal_activity={"attempt": 3, "workflow_id": "run"}, temporal_workflow={"run_id": "r"})
    assert (shown["attempt"], shown["workflow_id"], shown["run_id"]) == (3, "run", "r")
    assert "temporal_activity" not in shown


def test_a_line_of_temporals_core_has_its_fields() -> None:
    core, shown = logging.Logger("temporalio.core"), []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(parsed(JSONFormatter().format(record)))  # type: ignore[method-assign]
    core.addHandler(handler)
    fields = {"attempts": 3, "error": HOSTILE, "level": "x"}
    entry: Any = SimpleNamespace(level=30, message="gRPC call failed", target="client::retry", fields=fields, time=1.5)
    forwarding = LogForwardingConfig(core, False, False, append_log_fields_to_message=False)
    forwarding._on_logs([entry])
    [one] = shown
    assert one["time"] == "1970-01-01T00:00:01.500Z"
    assert (one["event"], one["logger"], one["level"]) == ("gRPC call failed", "temporalio.core", "WARNING")
    assert (one["target"], one["attempts"], one["level_"]) == ("client::retry", 3, "x")
