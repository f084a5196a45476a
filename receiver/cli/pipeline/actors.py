"""The options that say who acts, and why."""

from __future__ import annotations

import getpass
from typing import Final

import click

UNKNOWN_USER: Final = "unknown"


def os_user() -> str:
    """Return the name of the user of this process; `unknown` if the system has none for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return UNKNOWN_USER


actor_option = click.option(
    "--actor", default=os_user, show_default="the OS user", help="Who does this, for the run's records."
)
