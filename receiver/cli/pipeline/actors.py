"""The options that say who acts, and why."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Final

import click

UNKNOWN_USER: Final = "unknown"

LONGEST_ACTOR: Final = 100
LONGEST_KEPT_REASON: Final = 300
"""Characters that a run keeps."""


def os_user() -> str:
    """Return the name of the user of this process; `unknown` if the system has none for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return UNKNOWN_USER


def _bounded(most: int, *, least: int = 0) -> Callable[[click.Context, click.Parameter, str], str]:
    """A check of an option: text of at most so many characters, which Temporal can hold."""

    def check(context: click.Context, parameter: click.Parameter, value: str) -> str:
        from activities.environment import is_text

        if not is_text(value):
            raise click.BadParameter(f"{value!r} is not UTF-8")
        text = value.strip()
        if not least <= len(text) <= most:
            raise click.BadParameter(f"it has {len(text)} characters: use {least} to {most}")
        return text

    return check


actor_option = click.option(
    "--actor",
    default=os_user,
    show_default="the OS user",
    callback=_bounded(LONGEST_ACTOR, least=1),
    help="Who does this, for the run's records.",
)

reason_option = click.option(
    "--reason", default="", callback=_bounded(LONGEST_KEPT_REASON), help="Why, for the ledger of the run's stages."
)
