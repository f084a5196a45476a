"""ConsoleOptions: where the console is, and who may use it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlsplit

from activities.environment import Environment, is_loopback
from activities.public_url import path_of
from activities.settings import NEW_KEY
from activities.strength import SHORTEST_CALLBACK_KEY, is_patterned_key, is_weak_key

CONSOLE_PATH: Final = "/console"
"""Where web mounts the console, below the path of PUBLIC_URL."""

LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
PORT_OF_SCHEME: Final[Mapping[str, int]] = {"http": 80, "https": 443}


@dataclass(frozen=True)
class ConsoleOptions:
    """The console's address and its password.

    url: the address in the browser, without a trailing slash, such as `https://hooks.example.com/console`.
    password: what is asked for at sign-in; "" to ask for nothing.
    actor: the name of every visitor if no password is asked for.
    key: the secret of sessions and form tokens: the password, so that several processes share it, or a random key.
    """

    url: str
    password: str = field(default="", repr=False)
    actor: str = ""
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @classmethod
    def mounted(cls, public_url: str, password: str) -> Self:
        """The options of the console in the web process."""
        return cls(f"{public_url}{CONSOLE_PATH}", password, key=password)

    @property
    def base(self) -> str:
        """The path in front of every page's path: `/console`, or ""."""
        return path_of(self.url)

    @property
    def is_https(self) -> bool:
        """Whether browsers reach it by https."""
        return urlsplit(self.url).scheme == "https"

    @property
    def is_trustworthy(self) -> bool:
        """Whether browsers take the address for trustworthy, and then say from where a request comes."""
        return self.is_https or is_loopback(self.url)

    @property
    def hosts(self) -> frozenset[str]:
        """The values of the Host header that are permitted: on loopback each name of this machine, with the port."""
        parts = urlsplit(self.url)
        port = parts.port or PORT_OF_SCHEME[parts.scheme]
        named = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
        names = LOOPBACK_NAMES if is_loopback(self.url) else (named,)
        bare = names if port == PORT_OF_SCHEME[parts.scheme] else ()
        return frozenset({*(f"{name}:{port}" for name in names), *bare})

    @property
    def origins(self) -> frozenset[str]:
        """The values of the Origin header that are permitted."""
        return frozenset(f"{urlsplit(self.url).scheme}://{host}" for host in self.hosts)


def read_password(env: Environment, public_url: str) -> str:
    """Return CONSOLE_PASSWORD, or "". A weak password becomes a fault: with it every run can be ended."""
    password = env.optional("CONSOLE_PASSWORD")
    fix = f"use {SHORTEST_CALLBACK_KEY} random characters or more; {NEW_KEY} prints such a password"
    if password and is_weak_key(password):
        env.fault("CONSOLE_PASSWORD", "is weak", fix)
    elif password and public_url and not is_loopback(public_url) and is_patterned_key(password):
        env.fault("CONSOLE_PASSWORD", "is guessable (words, sequences or repeats)", fix)
    return password
