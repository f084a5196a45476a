"""Connect to Temporal's runs, and print values for programs or people."""

from __future__ import annotations

import os
from typing import Any

from activities.client import connect
from activities.runs import Runs
from receiver.cli.output import print_json, say
from receiver.cli.terminal import printable


async def connect_runs() -> Runs:
    """Connect to the runs of this environment's Temporal; raises `TemporalUnreachable`."""
    return Runs(await connect(os.environ))


def print_as(value: Any, text: str, *, as_json: bool) -> None:
    """Print the value for programs, or the text for people."""
    if as_json:
        print_json(value)
    else:
        say(printable(text))
