"""The options that set up a signature scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from activities.signatures import SCHEMES


def scheme_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as keyword arguments for `set_up`."""
    names = sorted(SCHEMES)
    help_ = f"How it is signed: {', '.join(names)}."
    options = [
        click.option("--scheme", "name", required=True, type=click.Choice(names), metavar="NAME", help=help_),
        click.option("--secret-env", multiple=True, metavar="VAR", help="Secrets from a variable, joined by commas."),
        click.option("--secret-file", multiple=True, metavar="FILE", help="Secrets from a file, one a line."),
        click.option(
            "--secret", multiple=True, help="A secret; every user of this machine sees it in the process list."
        ),
        click.option("--signature-header", "header", metavar="NAME", help="hmac: where the signature stands."),
        click.option("--algorithm", help="hmac: sha1, sha256 (the default), sha384 or sha512."),
        click.option("--encoding", help="hmac: hex (the default) or base64."),
        click.option("--prefix", help="hmac: what precedes the signature."),
        click.option("--signed", help="hmac: what is signed, a template of {body}, {timestamp} and {url}."),
        click.option("--timestamp-header", metavar="NAME", help="hmac: where the timestamp stands."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
