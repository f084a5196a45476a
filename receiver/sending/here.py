"""Here: what this process's environment has for releasing deliveries."""

from __future__ import annotations

import os

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.partners import load_partners
from activities.partners.partner import Partner
from activities.settings import read_callback_keys


class Here:
    """The partners and keys of this environment; see `releases.Surroundings`."""

    def partner(self, name: str) -> Partner:
        """Make the partner from its file; raises `SettingsError`."""
        environment = Environment(os.environ)
        partners = load_partners([name], environment)
        environment.check()
        return partners[name]

    def urls(self) -> CallbackURLs:
        """Make what redeems tokens; raises `SettingsError`."""
        environment = Environment(os.environ)
        keys = read_callback_keys(environment)
        environment.check()
        return CallbackURLs("", keys)
