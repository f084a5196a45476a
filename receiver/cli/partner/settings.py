"""What this environment says of partners: which are enabled, and a partner made with its settings."""

from __future__ import annotations

import os

from activities.environment import Environment
from activities.partners import PARTNERS, load_partners
from activities.partners.partner import Partner
from activities.settings import partner_environment
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note


def enabled_names() -> list[str]:
    """Return the names of the partners that PARTNERS enables; unknown ones are left out."""
    names = {part.strip() for part in Environment(os.environ).optional("PARTNERS").split(",")}
    return [name for name in PARTNERS if name in names]


def check_name(name: str) -> None:
    """Raise `CommandError` unless a partner has this name."""
    if name not in PARTNERS:
        raise CommandError(f"no partner is named {name!r}", "`stagehook partner list` lists the partners", Exit.USAGE)


def partner_from_environment(name: str, *, to_sign: bool = True) -> Partner | None:
    """Make the partner from this environment; None if unknown. to_sign: print why its callbacks cannot be signed."""
    if name not in PARTNERS:
        return None
    made = load_partners([name], environment := partner_environment(os.environ)).get(name)
    for fault in environment.faults if to_sign and (made is None or made.signature is None) else ():
        note(f"{name}'s callbacks are not signed: {fault}")
    return made
