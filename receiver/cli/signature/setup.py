"""Set up a signature scheme from options of the command line: its name, its secrets, and options of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from activities.signatures import SCHEMES, ConfigError, Scheme
from activities.signatures.option_help import flag
from receiver.cli.errors import CommandError, Exit
from receiver.cli.signature.captured import read_bytes

EVERY_SCHEME: Final = ("name", "secret_env", "secret_file", "secret")
"""The options that every scheme takes; the other options are those of `Scheme.options`."""

ADVICE: Final = "give --secret-env VAR (secrets joined by commas) or --secret-file FILE (one a line)"


@dataclass(frozen=True)
class SchemeSetup:
    """A scheme, and the secrets that it was made with."""

    scheme: Scheme
    secrets: Sequence[str]


def set_up(given: dict[str, Any], *, tolerance: int | None = None, private_key: str = "") -> SchemeSetup:
    """Make the scheme from the given options; raises `CommandError`."""
    name: str = given["name"]
    scheme = SCHEMES[name]
    options = {key: value for key, value in given.items() if key not in EVERY_SCHEME and value is not None}
    for key in options:
        if key not in scheme.options:
            raise _usage(f"the scheme {name} has no option {flag(key)}", "leave it out, or use the scheme hmac")
    if private_key and not scheme.takes_private_key:
        raise _usage(f"{name} has no private key", "give the secret alone")
    if tolerance is not None:
        options["tolerance"] = tolerance
    if private_key:
        options["private_key"] = private_key
    secrets = read_secrets(given["secret_env"], given["secret_file"], given["secret"])
    for place, secret in enumerate(secrets, start=1):
        _make(name, [secret], options, f"secret {place} of {len(secrets)}: " if len(secrets) > 1 else "")
    return SchemeSetup(_make(name, secrets, options, ""), secrets)


def read_secrets(variables: Sequence[str], files: Sequence[str], plain: Sequence[str]) -> list[str]:
    """Read all secrets: from variables, then files, then the command line; raises `CommandError` without a secret."""
    secrets: list[str] = []
    for variable in variables:
        found = _listed(os.environ.get(variable, ""), ",")
        if not found:
            raise _usage(f"the variable {variable!r} is not set, or empty", f"export it, or {ADVICE}")
        secrets += found
    for path in files:
        found = _listed(_text(path), "\n")
        if not found:
            raise _usage(f"{path!r} holds no secret", "put one secret on each line")
        secrets += found
    secrets += plain
    if not secrets:
        raise _usage("no secret is given", ADVICE)
    return secrets


def read_private_key(variable: str | None, path: str | None) -> str:
    """Read the private key; "" if none is given. Raises `CommandError`."""
    if not variable and not path:
        return ""
    keys = read_secrets([variable] if variable else [], [path] if path else [], [])
    if len(keys) > 1:
        raise _usage("several private keys are given", "give one")
    return keys[0]


def _make(name: str, secrets: Sequence[str], options: dict[str, Any], whose: str) -> Scheme:
    try:
        return SCHEMES[name](secrets, **options)
    except ConfigError as error:
        doc = (SCHEMES[name].__doc__ or "").strip().partition("\n")[0]
        taken = ", ".join(["a secret", *map(flag, SCHEMES[name].options)])
        raise _usage(
            f"the scheme {name} cannot be set up: {whose}{error}", f"give what it takes: {taken}. {doc}"
        ) from error


def _listed(text: str, separator: str) -> list[str]:
    """Return the secrets of a text. A key in PEM or JSON stands alone: it has lines and commas of its own."""
    if text.lstrip().startswith(("{", "-----BEGIN")):
        return [text.strip()]
    return [part.strip() if separator == "," else part for part in text.split(separator) if part.strip()]


def _text(path: str) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _usage(f"{path!r} is not text", "put one secret on each line") from error


def _usage(what: str, advice: str) -> CommandError:
    return CommandError(what, advice, Exit.USAGE)


def no_url(scheme: str) -> CommandError:
    """Make the error for a scheme that signs the URL, if the URL is unknown."""
    return CommandError(
        f"{scheme} signs the URL, and it is not known",
        "give --url, the very URL that the partner was given",
        Exit.USAGE,
    )
