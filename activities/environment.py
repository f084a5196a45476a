"""Environment variables, read in one place, with every fault reported at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from activities.strength import SHORTEST_SECRET, is_short

NUMBER: Final = re.compile(r"[0-9]{1,18}")
AUTHORITY: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]@:]+)(?::[0-9]{1,5})?")
BASE_URL: Final = re.compile(r"(?:(?![?#\\])[!-~])+")
"""Visible ASCII, but for what would end the path before ours, or be read as a slash by some."""


@dataclass(frozen=True)
class Fault:
    """One variable that is missing or wrong. `problem` completes the sentence; `fix` says what to do. No values."""

    name: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.name} {self.problem}: {self.fix}"


class SettingsError(Exception):
    """The environment cannot be used. `faults` holds everything that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        several = [f"{len(faults)} settings are missing or wrong"] if len(faults) > 1 else []
        super().__init__("\n  ".join([*several, *map(str, faults)]))
        self.faults = faults


class Environment:
    """Reads variables and collects faults instead of stopping at the first; `check` raises them together."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.faults: list[Fault] = []

    def text(self, name: str, *, fix: str, default: str = "") -> str:
        """The variable's text without surrounding blanks; a missing one without default is a fault."""
        value = self._variables.get(name, "").strip() or default
        if not value:
            self.fault(name, "is not set", fix)
        elif not is_text(value):
            self.fault(name, "is not UTF-8 text", fix)
        return value

    def secret(self, name: str, *, fix: str) -> str:
        """The text of a variable that holds a credential: one that is too short to be one is a fault too."""
        value = self.text(name, fix=fix)
        if value and is_short(value):
            self.fault(name, f"has fewer than {SHORTEST_SECRET} characters", fix)
        return value

    def optional(self, name: str) -> str:
        """The variable's text without surrounding blanks, or "" for none."""
        return self._variables.get(name, "").strip()

    def url(self, name: str, *, fix: str, default: str = "") -> str:
        """A base URL without its trailing slash; a fault unless it is https, or http on this machine."""
        value = self.text(name, fix=fix, default=default).rstrip("/")
        if value and not _is_base_url(value):
            self.fault(name, "is not a plain http or https URL", fix)
        elif urlsplit(value).scheme == "http" and not is_loopback(value):
            self.fault(name, "is http", "use https: keys and callback URLs can be read on the way")
        return value

    def names(self, name: str, *, fix: str) -> list[str]:
        """A comma-separated list without empty entries."""
        text = self.text(name, fix=fix)
        names = [part.strip() for part in text.split(",") if part.strip()]
        if text and not names:
            self.fault(name, "names nothing", fix)
        return names

    def number(self, name: str, *, fix: str, default: int, least: int, most: int) -> int:
        """A whole number in decimal digits."""
        value = self.text(name, fix=fix, default=str(default))
        if NUMBER.fullmatch(value) and least <= int(value) <= most:
            return int(value)
        self.fault(name, f"is not a number from {least} to {most}", fix)
        return default

    def beside(self) -> Environment:
        """A reader of the same variables, with faults of its own."""
        return Environment(self._variables)

    def fault(self, name: str, problem: str, fix: str) -> None:
        """Note that something is wrong; once, however many ask."""
        if (fault := Fault(name, problem, fix)) not in self.faults:
            self.faults.append(fault)

    def check(self) -> None:
        """Raise `SettingsError` if anything was wrong."""
        if self.faults:
            raise SettingsError(self.faults)


def is_text(value: str) -> bool:
    """Whether it is all characters: bytes of the environment that are not UTF-8 are read as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_loopback(url: str) -> bool:
    """Whether a URL names this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        named = AUTHORITY.fullmatch(parts.netloc) is not None
        return named and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


def _is_base_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        # `port` raises for a number that is none.
        names_a_host = AUTHORITY.fullmatch(parts.netloc) is not None and parts.port != 0
    except ValueError:
        return False
    return names_a_host and parts.scheme in {"http", "https"} and BASE_URL.fullmatch(value) is not None
