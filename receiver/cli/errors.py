"""How commands end: the exit codes, and an error with advice."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes."""

    OK = 0
    FAILED = 1
    USAGE = 2
    RUN_FAILED = 3
    NOT_FOUND = 4
    BAD_TOKEN = 5
    EXPIRED = 6
    UNREACHABLE = 7
    UNSURE = 8
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command with an error. what: what is wrong, in one sentence. advice: what to do."""

    def __init__(self, what: str, advice: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(what)
        self.advice = advice
        self.code = code
