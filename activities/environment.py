"""Reads environment variables, and reports all faults at once."""

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
"""Visible ASCII without `?` and `#`, which end the path, and without `\\`, which some parsers read as a slash."""

HTTP_IS_READ: Final = "keys and callback URLs can be read on the way; in a private network, ALLOW_HTTP=1 permits http"


@dataclass(frozen=True)
class Fault:
    """A missing or invalid variable, shown as `NAME problem: fix`. `fix` says what to do. Never holds a value."""

    name: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.name} {self.problem}: {self.fix}"


class SettingsError(Exception):
    """The environment is invalid. `faults` holds all faults."""

    def __init__(self, faults: list[Fault]) -> None:
        several = [f"{len(faults)} settings are missing or wrong"] if len(faults) > 1 else []
        super().__init__("\n  ".join([*several, *map(str, faults)]))
        self.faults = faults


class Environment:
    """Reads variables and collects faults instead of stopping at the first fault; `check` raises all of them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.faults: list[Fault] = []

    def text(self, name: str, *, fix: str, default: str = "") -> str:
        """Return the variable's text without surrounding blanks. A missing variable without a default is a fault."""
        value = self._variables.get(name, "").strip() or default
        if not value:
            self.fault(name, "is not set", fix)
        elif not is_text(value):
            self.fault(name, "is not UTF-8 text", fix)
        return value

    def secret(self, name: str, *, fix: str) -> str:
        """Return the text of a variable that holds a credential. A missing or too short credential is a fault."""
        value = self.text(name, fix=fix)
        if value and is_short(value):
            self.fault(name, f"has fewer than {SHORTEST_SECRET} characters", fix)
        return value

    def optional(self, name: str) -> str:
        """Return the variable's text without surrounding blanks, or "" if it is missing."""
        return self._variables.get(name, "").strip()

    def url(self, name: str, *, fix: str, default: str = "") -> str:
        """Return a base URL without trailing slashes. It must be https, or http on this machine; else it is a fault."""
        return self.checked_url(name, self.text(name, fix=fix, default=default), fix=fix)

    def checked_url(
        self, name: str, value: str, *, fix: str = "use an address such as https://hooks.example.com"
    ) -> str:
        """Return a base URL without trailing slashes. If it is not one that `url` takes, it becomes a fault of `name`.

        ALLOW_HTTP=1 takes http on other machines too: in a private network, or behind a proxy that encrypts.
        """
        value = value.rstrip("/")
        if value and not is_base_url(value):
            self.fault(name, "is not a plain http or https URL", fix)
        elif urlsplit(value).scheme == "http" and not is_loopback(value) and self.optional("ALLOW_HTTP") != "1":
            self.fault(name, "is http", f"use https: {HTTP_IS_READ}")
        return value

    def names(self, name: str, *, fix: str) -> list[str]:
        """Return the entries of a comma-separated list, without empty entries. An empty list is a fault."""
        text = self.text(name, fix=fix)
        names = [part.strip() for part in text.split(",") if part.strip()]
        if text and not names:
            self.fault(name, "names nothing", fix)
        return names

    def number(self, name: str, *, fix: str, default: int, least: int, most: int) -> int:
        """Return a whole number written in decimal digits. A number outside `least` to `most` is a fault."""
        value = self.text(name, fix=fix, default=str(default))
        if NUMBER.fullmatch(value) and least <= int(value) <= most:
            return int(value)
        self.fault(name, f"is not a number from {least} to {most}", fix)
        return default

    def switch(self, name: str) -> bool:
        """Whether the variable is 1. Anything other than 1, 0 and nothing is a fault."""
        value = self.optional(name)
        if value not in {"", "0", "1"}:
            self.fault(name, "is neither 0 nor 1", "set it to 1, or remove it")
        return value == "1"

    def add_defaults(self, defaults: Mapping[str, str]) -> None:
        """Use these values for variables that are missing or empty."""
        given = {name: value for name, value in self._variables.items() if value.strip()}
        self._variables = {**defaults, **given}

    def beside(self) -> Environment:
        """Return a reader of the same variables with a separate list of faults."""
        return Environment(self._variables)

    def fault(self, name: str, problem: str, fix: str) -> None:
        """Add a fault; the same fault is added only once."""
        if (fault := Fault(name, problem, fix)) not in self.faults:
            self.faults.append(fault)

    def check(self) -> None:
        """Raise `SettingsError` if there are faults."""
        if self.faults:
            raise SettingsError(self.faults)


def is_text(value: str) -> bool:
    """Whether the value is valid text: Python reads bytes that are not UTF-8 in the environment as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        named = AUTHORITY.fullmatch(parts.netloc) is not None
        return named and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


def is_base_url(value: str) -> bool:
    """Whether the value is an http or https URL without user name, query and fragment."""
    try:
        parts = urlsplit(value)
        # `port` raises ValueError for an invalid number.
        names_a_host = AUTHORITY.fullmatch(parts.netloc) is not None and parts.port != 0
    except ValueError:
        return False
    return names_a_host and parts.scheme in {"http", "https"} and BASE_URL.fullmatch(value) is not None
