"""`stagehook partner unseal`."""

from __future__ import annotations

import os

from activities.environment import Environment
from activities.sealing import NotSealed, Seals
from activities.settings import read_callback_keys
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import say


def print_unsealed(sealed: str) -> None:
    """Print the secret in a sealed text; raises `CommandError` if CALLBACK_KEYS do not open it."""
    env = Environment(os.environ)
    keys = read_callback_keys(env)
    env.check()
    try:
        say(Seals(keys).open(sealed))
    except NotSealed as error:
        raise CommandError(
            str(error), "copy the whole text, and use the CALLBACK_KEYS of the receiver", Exit.USAGE
        ) from None
