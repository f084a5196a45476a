"""PublicURL: where partners reach the receiver, from PUBLIC_URL or from the platform's own variable.

A platform tells a process its public address in a variable. Heroku's names the app, so web and worker see the same
address. Render's and Railway's name the service that reads the variable, so only the web process may believe them: the
worker is another service, and callbacks that are sent to its address never arrive. No address is ever taken from a
request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from activities.environment import Environment
from activities.variables import PLATFORM_VARIABLES, VARIABLES

OF_THE_APP: Final = "HEROKU_APP_DEFAULT_DOMAIN_NAME"
OF_THE_SERVICE: Final = ("RENDER_EXTERNAL_URL", "RAILWAY_PUBLIC_DOMAIN")
ON_HEROKU: Final = "DYNO"
"""Heroku sets it in every dyno, whether or not the app's address is told."""

PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
"""The path of a public URL. Clients and balancers rewrite paths with `%`, `//`, `.` or `..` in them."""

OWN_PATHS: Final = ("callbacks", "partners", "trial", "console", "healthz", "readyz", "metrics")
"""First segments of the receiver's own paths. See `receiver.below`."""


@dataclass(frozen=True)
class PublicURL:
    """The address, without a trailing slash, and the variable that it was read from; "" if it is missing or wrong."""

    url: str
    source: str

    @property
    def facts(self) -> dict[str, str]:
        """What a start line says: the address, and the platform's variable if it was read from there."""
        told = {} if self.source == "PUBLIC_URL" else {"public_url_from": self.source}
        return {"public_url": self.url, **told}


def read_public_url(env: Environment, *, of_web: bool = False) -> PublicURL:
    """Read the address; a missing or wrong address becomes a fault.

    of_web: whether this is the web process, whose own service is the one that partners reach.
    """
    found = stated_public_url(env, of_web=of_web)
    if found is None:
        env.fault("PUBLIC_URL", "is not set", _fix(env))
        return PublicURL("", "PUBLIC_URL")
    faults = len(env.faults)
    value = env.checked_url(found.source, found.url)
    if len(env.faults) == faults:
        _check_path(env, found.source, path_of(value))
    return PublicURL(value, found.source)


def path_of(url: str) -> str:
    """The path of a valid base URL, such as `/hooks`, or ""."""
    return urlsplit(url).path


def _check_path(env: Environment, name: str, path: str) -> None:
    if not PATH.fullmatch(path):
        fix = "use letters, digits, `-`, `_`, `~` and `.` between single slashes"
        env.fault(name, "has a path that clients may rewrite", fix)
    elif path and path.split("/")[1] in OWN_PATHS:
        env.fault(name, "has a path that begins like one of the receiver's own", "use another path")


def stated_public_url(env: Environment, *, of_web: bool = False) -> PublicURL | None:
    """The address as it is stated, unchecked, or None. of_web: see `read_public_url`."""
    if value := env.optional("PUBLIC_URL"):
        return PublicURL(value, "PUBLIC_URL")
    for name in (OF_THE_APP, *(OF_THE_SERVICE if of_web else ())):
        if value := env.optional(name):
            return PublicURL(value if name == "RENDER_EXTERNAL_URL" else f"https://{value}", name)
    return None


def _fix(env: Environment) -> str:
    for name in OF_THE_SERVICE:
        if env.optional(name):
            return f"set it to web's address on this service too; {name} here is this service's own address, not web's"
    if env.optional(ON_HEROKU):
        return f"{VARIABLES['PUBLIC_URL']}; or run `heroku labs:enable runtime-dyno-metadata`, and deploy again"
    if any(env.optional(name) for name in PLATFORM_VARIABLES):
        return f"{VARIABLES['PUBLIC_URL']}; this service cannot know web's address, so set it here too"
    return VARIABLES["PUBLIC_URL"]
