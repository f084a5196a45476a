"""WebSettings: the web process's settings from the environment, in addition to those shared with the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from activities.environment import Environment, is_loopback
from activities.settings import Settings

SHORTEST_METRICS_TOKEN: Final = 16


@dataclass(frozen=True)
class WebSettings:
    """Checked settings.

    shared: the settings of web and worker.
    metrics_token: the bearer token for `/metrics`; "" for public metrics, None for no metrics (404).
    """

    shared: Settings
    metrics_token: str | None = field(repr=False)

    @classmethod
    def from_env(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings. Raises `SettingsError` with all faults together."""
        env = Environment(variables)
        shared = Settings.read(env)
        token = env.optional("METRICS_TOKEN")
        if token and len(token) < SHORTEST_METRICS_TOKEN:
            env.fault("METRICS_TOKEN", "is short", f"use {SHORTEST_METRICS_TOKEN} random characters or more")
        settings = cls(
            shared=shared,
            # A public receiver shows its metrics only to a scraper with a token.
            metrics_token=token or ("" if is_loopback(shared.public_url) else None),
        )
        env.check()
        return settings
