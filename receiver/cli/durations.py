"""Durations and moments on the command line, where an invalid one is a usage error."""

from __future__ import annotations

import click

from receiver.durations import duration_of, end_of, moment_of


def read_duration(text: str, what: str = "duration", example: str = "90s or 2h") -> float:
    """Return the seconds of a duration such as 30d; raises a usage error for anything else. what: names it there."""
    try:
        return duration_of(text, what, example)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_moment(option: str, text: str, *, ahead: bool = False) -> float:
    """Return the unix seconds of `2h`, or of an ISO 8601 time; see `moment_of`. option: names it in the usage error."""
    try:
        return moment_of(option, text, ahead=ahead)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_end(option: str, text: str) -> float:
    """Return the unix seconds of a moment to come; see `end_of`. option: names it in the usage error."""
    try:
        return end_of(option, text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
