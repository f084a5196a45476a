"""Exceptions whose text would forge a line of the log or control a terminal."""

from __future__ import annotations

from collections.abc import Callable

FORGED = "2026-01-02T03:04:05Z INFO stagehook.callbacks callback verdict=accepted"
HOSTILE = f"bad\n{FORGED}\r\x1b]52;c;eA==\x07\x9b2J\u2028\u202e\ud83d"


def raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301
    except BaseException as caught:
        return caught


def chained(text: str) -> BaseException:
    try:
        try:
            raise KeyError(text)  # noqa: TRY301
        except KeyError as cause:
            raise ValueError(text) from cause
    except ValueError as caught:
        return caught


def noted(text: str) -> BaseException:
    error = raised(ValueError("x"))
    error.add_note(text)
    return error


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


ERRORS: dict[str, Callable[[str], BaseException]] = {
    "a text": lambda text: raised(ValueError(text)),
    "a KeyError": lambda text: raised(KeyError(text)),
    "a chain": chained,
    "a note": noted,
    "a group": lambda text: raised(BaseExceptionGroup(text, [raised(ValueError(text)), chained(text)])),
    "a SyntaxError": lambda text: raised(SyntaxError(text, (text, 1, 1, text))),
    "no text": lambda text: raised(Odd()),
    "never raised": ValueError,
}
