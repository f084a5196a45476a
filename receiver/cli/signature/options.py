"""The options that set up a signature scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from activities.signatures import SCHEMES
from activities.signatures.option_help import OPTION_HELP, flag


def scheme_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as the keyword arguments that `set_up` takes."""
    names = sorted(SCHEMES)
    help_ = f"How it is signed: {', '.join(names)}."
    options = [
        click.option("--scheme", "name", required=True, type=click.Choice(names), metavar="NAME", help=help_),
        click.option("--secret-env", multiple=True, metavar="VAR", help="Secrets from a variable, joined by commas."),
        click.option("--secret-file", multiple=True, metavar="FILE", help="Secrets from a file, one a line."),
        click.option(
            "--secret", multiple=True, help="A secret; every user of this machine sees it in the process list."
        ),
        *(
            click.option(flag(name), name, metavar="NAME" if name.endswith("header") else "TEXT", help=text)
            for name, text in OPTION_HELP.items()
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
