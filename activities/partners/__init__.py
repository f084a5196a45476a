"""The partners: one file each, in one explicit list. Add a partner here with its file and its line below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from activities.environment import Environment
from activities.partners import bank, cards, esign, identity, sandbox
from activities.partners.partner import Partner, PartnerFactory

PARTNERS: Final[Mapping[str, PartnerFactory]] = {
    "sandbox": partial(sandbox.partner, "sandbox"),
    "identity": identity.partner,
    "bank": bank.partner,
    "esign": esign.partner,
    "cards": cards.partner,
}
"""Every partner that can be enabled, by the name that stages use."""


def load_partners(names: Iterable[str], environment: Environment) -> dict[str, Partner]:
    """Make the named partners; a name that is not listed becomes a fault of the environment."""
    partners: dict[str, Partner] = {}
    for name in names:
        if factory := PARTNERS.get(name):
            faults = len(environment.faults)
            partners[name] = partner = factory(environment)
            if partner.must_prove_its_bodies and not partner.proves_its_bodies and faults == len(environment.faults):
                problem = f"names {name!r}, whose webhook URL or handshake needs a signature that covers the body"
                environment.fault("PARTNERS", problem, "give its file a signature")
        else:
            environment.fault("PARTNERS", f"names {name!r}, which is not known", f"use any of {', '.join(PARTNERS)}")
    return partners
