"""WebSettings: the web process's settings from the environment, in addition to those shared with the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from activities.environment import Environment
from activities.settings import Settings
from activities.variables import VARIABLES
from receiver.console.identity import Identity, read_identity
from receiver.console.options import read_password

LONGER_THAN_A_ROUTER: Final = 100
"""Seconds, more than the 90 s of a PaaS router: if the receiver closed first, a callback in flight would be lost."""

LONGEST_KEEP_ALIVE: Final = 7_200


@dataclass(frozen=True)
class WebSettings:
    """Checked settings.

    shared: the settings of web and worker.
    keep_alive: seconds until an idle connection is closed.
    console_password: the password of the console; "" for no console. identity: of a proxy in front of it, or None.
    """

    shared: Settings
    keep_alive: int
    console_password: str = field(repr=False)
    identity: Identity | None = None

    @classmethod
    def from_env(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings. Raises `SettingsError` with all faults together."""
        env = Environment(variables)
        shared = Settings.read(env, of_web=True)
        settings = cls(
            shared=shared,
            keep_alive=env.number(
                "KEEP_ALIVE_SECONDS",
                fix=VARIABLES["KEEP_ALIVE_SECONDS"],
                default=LONGER_THAN_A_ROUTER,
                least=1,
                most=LONGEST_KEEP_ALIVE,
            ),
            console_password=read_password(env, shared.public_url),
            identity=read_identity(env),
        )
        env.check()
        return settings
