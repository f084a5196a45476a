"""LogSettings: how a process logs, from LOG_FORMAT and LOG_LEVEL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from activities.environment import Environment

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True)
class LogSettings:
    """Checked settings. format: one of `FORMATS`. level: the least level of our lines, one of `LEVELS`."""

    format: str = "text"
    level: str = "info"

    @classmethod
    def from_env(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings; raises `SettingsError`."""
        env = Environment(variables)
        settings = cls.read(env)
        env.check()
        return settings

    @classmethod
    def read(cls, env: Environment) -> Self:
        """Read the settings. A value that is not in the list becomes a fault."""
        shape, level = env.optional("LOG_FORMAT").lower(), env.optional("LOG_LEVEL").lower()
        if shape and shape not in FORMATS:
            env.fault("LOG_FORMAT", "is not the name of a format", f"use one of {', '.join(FORMATS)}")
        if level and level not in LEVELS:
            env.fault("LOG_LEVEL", "is not the name of a level", f"use one of {', '.join(LEVELS)}")
        return cls(format=shape or cls.format, level=level or cls.level)
