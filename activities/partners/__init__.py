"""The partners: a file for each, and an explicit list. To add a partner, add its file here and its line below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from activities.environment import Environment
from activities.partners import bank, cards, esign, idcheck, identity, payments, sandbox
from activities.partners.partner import Partner, PartnerFactory
from activities.signatures import ConfigError

PARTNERS: Final[Mapping[str, PartnerFactory]] = {
    "sandbox": partial(sandbox.partner, "sandbox"),
    "identity": identity.partner,
    "bank": bank.partner,
    "esign": esign.partner,
    "cards": cards.partner,
    "idcheck": idcheck.partner,
    "payments": payments.partner,
}
"""Every partner that can be enabled, by the name that stages use."""


def load_partners(names: Iterable[str], environment: Environment) -> dict[str, Partner]:
    """Make the named partners; an unlisted name, or a file that is wrong, becomes a fault of the environment."""
    partners: dict[str, Partner] = {}
    for name in names:
        if factory := PARTNERS.get(name):
            own = environment.beside()
            if partner := _make_partner(name, factory, own):
                partners[name] = partner
            for fault in own.faults:
                environment.fault(fault.name, fault.problem, fault.fix)
        else:
            environment.fault("PARTNERS", f"names {name!r}, which is not known", f"use any of {', '.join(PARTNERS)}")
    return partners


def _make_partner(name: str, factory: PartnerFactory, own: Environment) -> Partner | None:
    """Make one partner from `own`, an environment that collects only this partner's faults."""
    try:
        partner = factory(own)
    except ConfigError as error:
        # A token URL that is incomplete because the partner's URL is missing is already a fault.
        if not own.faults:
            own.fault("PARTNERS", f"names {name!r}, whose file cannot be used: {error}", "set it right in its file")
        return None
    # A signature that is missing because its secret is missing is already a fault.
    if partner.must_prove_its_bodies and not partner.proves_its_bodies and not own.faults:
        problem = f"names {name!r}, whose webhook URL or handshake needs a signature that covers the body"
        own.fault("PARTNERS", problem, "give its file a signature")
    if partner.takes_get and not partner.proves_its_urls and not own.faults:
        problem = f"names {name!r}, whose file takes a GET without a signature that covers the URL"
        own.fault("PARTNERS", problem, "give its file such a signature, or leave takes_get out")
    if partner.name != name:
        own.fault("PARTNERS", f"names {name!r}, whose file says {partner.name!r}", "name it alike in file and list")
    return partner
