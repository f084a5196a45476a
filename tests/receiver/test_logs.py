"""The log: one line an event, whatever texts from elsewhere are in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from receiver.logs import LONGEST_TRACEBACK, LineFormatter
from tests.parts import hostile_errors
from tests.parts.callbacks import CLAIMS, URLS
from tests.parts.hostile_errors import ERRORS, FORGED, HOSTILE, chained, raised


def line(message: str = "event", error: BaseException | None = None, **facts: Any) -> str:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("stagehook", logging.ERROR, "x.py", 1, message, (), exc_info)
    vars(record).update(facts)
    return LineFormatter().format(record)


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
def test_no_exceptions_text_forges_a_line_or_steers_a_terminal(make: Callable[[str], BaseException]) -> None:
    first, *traceback = line(error=make(HOSTILE)).split("\n")
    assert first.endswith(" ERROR stagehook event")
    assert all(one.startswith("    ") for one in traceback)
    assert "".join([first, *traceback]).isprintable()


def test_an_exceptions_text_stays_in_one_line() -> None:
    text = line(error=raised(ValueError(f"bad\n{FORGED}")))
    assert text.endswith(f"\n    ValueError: bad\\n{FORGED}")


def test_a_traceback_shows_its_frames() -> None:
    text = line(error=chained("why"))
    assert f'File "{hostile_errors.__file__}"' in text
    assert "raise KeyError(text)" in text
    assert "    KeyError: 'why'\n" in text
    assert text.endswith("    ValueError: why")


@pytest.mark.parametrize("where", ["message", "fact"])
def test_no_other_text_forges_a_line_or_steers_a_terminal(where: str) -> None:
    text = line(HOSTILE) if where == "message" else line(why=HOSTILE)
    assert text.isprintable()
    assert "bad\\n2026" in text


def test_no_text_brings_a_callback_token_into_the_log() -> None:
    url = URLS.issue(CLAIMS)
    text = line(f"at {url}", error=raised(KeyError(url)), why=url)
    assert url.rpartition("/")[2] not in text
    assert text.count("[removed]") == 3


def test_no_cut_shows_a_part_of_a_callback_token() -> None:
    url = URLS.issue(CLAIMS)
    for before in range(LONGEST_TRACEBACK - len(url) - 40, LONGEST_TRACEBACK, 7):
        error = ValueError("bad")
        for _ in range(before // 1000):
            error.add_note("x" * 995)
        error.add_note("x" * (before % 1000) + url)
        assert url.rpartition("/")[2][:20] not in line(error=error)


class Broken:
    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_event_that_its_arguments_do_not_fit_is_one_line() -> None:
    url = URLS.issue(CLAIMS)
    record = logging.LogRecord("stagehook", logging.ERROR, "x.py", 1, "one %d", (url,), None)
    assert LineFormatter().format(record).endswith(" ERROR stagehook one %d")
    assert line(why=Broken()).endswith(' ERROR stagehook event why="a Broken"')


def test_a_long_text_is_cut() -> None:
    error = raised(ValueError("x" * 1_000_000))
    for _ in range(10_000):
        error.add_note("note")
    assert len(line(error=error)) < LONGEST_TRACEBACK + 100


def test_a_plain_event_is_one_line_with_its_facts() -> None:
    assert line(stage=2, why="two words").endswith(' ERROR stagehook event stage=2 why="two words"')


def test_an_error_without_an_exception_is_logged() -> None:
    assert sys.exc_info() == (None, None, None)
    record = logging.LogRecord("stagehook", logging.ERROR, "x.py", 1, "event", (), sys.exc_info())
    assert LineFormatter().format(record).endswith(" ERROR stagehook event")
