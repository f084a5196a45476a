"""`stagehook db`: the store of deliveries."""

from __future__ import annotations

import re
import time
from typing import Final

import click

from receiver.cli.output import counted, json_option, print_json, say

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@click.group()
def db() -> None:
    """The store of deliveries, named by DATABASE_URL."""


@db.command()
def upgrade() -> None:
    """Bring the store to this version's schema; nothing happens if it is there already.

    Without DATABASE_URL there is nothing to do, and that is no error: a Procfile can always run it. A schema of a later
    version is none either, as long as this one can run on it.
    """
    from receiver.cli.db.schema import upgrade_store

    upgrade_store()


@db.command()
@json_option
def current(*, as_json: bool) -> int:
    """Print the schema's version, and this program's; exits 1 if the store has an older one."""
    from receiver.cli.db.schema import print_versions

    return print_versions(as_json=as_json)


@db.command()
@click.option("--older-than", required=True, metavar="AGE", help="For example 30d, 12h, 90m.")
@click.option("--refused", is_flag=True, help="Only requests that were refused.")
@json_option
def prune(older_than: str, *, refused: bool, as_json: bool) -> None:
    """Delete deliveries that were received longer ago; none that is pending or parked."""
    from receiver.cli.db.store import need_archive

    deleted = need_archive().prune(time.time() - read_age(older_than), refused=refused)
    if as_json:
        print_json({"deleted": deleted})
    else:
        say(f"{counted(deleted, 'delivery', 'deliveries')} deleted")


def read_age(text: str) -> float:
    """Seconds of an age like 30d; a usage error for anything else."""
    if not (found := re.fullmatch(r"([0-9]{1,6})([smhdw])", text)):
        raise click.BadParameter(f"invalid age {text!r}: use a number and one of s, m, h, d, w, such as 30d")
    return float(int(found[1]) * UNITS[found[2]])
