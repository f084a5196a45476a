"""The settings file of `stagehook dev`: made of `.env.example`, and read."""

from __future__ import annotations

import base64
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note

TEMPLATE: Final = Path(__file__).with_name("env.example")
"""The project's `.env.example`: a link to it in the project, a copy of it in an installed package."""

WITHOUT_VALUE: Final = re.compile(r"^[A-Z_]+=$", re.MULTILINE)


def make_settings_file(file: Path) -> None:
    """Make the file, with a random key or secret for each variable without a value; an existing file stays as it is.

    Only its owner can read it. Raises `CommandError` if it cannot be written.
    """
    # Standard Webhooks decodes its secret from base64; the other schemes accept any text.
    text = WITHOUT_VALUE.sub(lambda found: found[0] + base64.b64encode(secrets.token_bytes(30)).decode(), _template())
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        return
    except OSError as error:
        what = f"the settings file {file} cannot be made: {error.strerror}"
        raise CommandError(what, "name another file with --env", Exit.USAGE) from error
    note(f"made {file} from .env.example, with keys and secrets of its own")


def read_settings_file(file: Path) -> dict[str, str]:
    """Return the file's variables; raises `CommandError` if it cannot be read."""
    try:
        found = dotenv_values(file, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CommandError(f"the settings file {file} cannot be read: {why}", "mend it", Exit.USAGE) from error
    return {name: value for name, value in found.items() if value is not None}


def replaced(variables: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Return the names of the file's variables to which the environment gives another value."""
    return [name for name, value in variables.items() if environment.get(name, value) != value]


def _template() -> str:
    return TEMPLATE.read_text("utf-8")
