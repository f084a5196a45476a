"""Make a partner with the settings of this environment."""

from __future__ import annotations

import os

from activities.partners import PARTNERS, load_partners
from activities.partners.partner import Partner
from activities.settings import partner_environment
from receiver.cli.output import note


def partner_from_environment(name: str, *, to_sign: bool = True) -> Partner | None:
    """Make the partner from this environment; None if unknown. to_sign: print why its callbacks cannot be signed."""
    if name not in PARTNERS:
        return None
    made = load_partners([name], environment := partner_environment(os.environ)).get(name)
    for fault in environment.faults if to_sign and (made is None or made.signature is None) else ():
        note(f"{name}'s callbacks are not signed: {fault}")
    return made
