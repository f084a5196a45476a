"""`stagehook db`: the store of deliveries."""

from __future__ import annotations

import time

import click

from receiver.cli.durations import read_duration
from receiver.cli.output import confirm_first, counted, json_option, print_json, say, yes_option


@click.group()
def db() -> None:
    """The store of deliveries, named by DATABASE_URL."""


@db.command()
def upgrade() -> None:
    """Upgrade the store to this version's schema. Does nothing if the schema is current.

    Without DATABASE_URL it does nothing and succeeds, so that a Procfile can always run it. It also succeeds for a
    later version's schema, as long as this version can run on it.
    """
    from receiver.cli.db.schema import upgrade_store

    upgrade_store()


@db.command()
@click.option("--to", "revision", required=True, metavar="REVISION", help="The revision to go back to, such as 0005.")
@yes_option
def downgrade(revision: str, *, yes: bool) -> None:
    """Take the store back to an earlier schema, and delete what only later ones keep.

    An earlier version of this program runs on a later schema too: a roll-back does not need it. Stop web and worker of
    this version first, and run it with the version that made the schema.
    """
    from receiver.cli.db.schema import downgrade_store

    downgrade_store(revision, yes=yes)


@db.command()
def unpack() -> None:
    """Unpack packed deliveries, before a roll-back.

    An earlier version cannot read what PACK_DELIVERIES=1 has packed. Remove PACK_DELIVERIES from every receiver first.
    Receivers may run meanwhile, and the command may be repeated.
    """
    from receiver.cli.db.unpacking import unpack_store

    unpack_store()


@db.command()
@json_option
def current(*, as_json: bool) -> int:
    """Print the schema versions of the store and this program. Exits 1 if the store's is older, or lacks tables."""
    from receiver.cli.db.schema import print_versions

    return print_versions(as_json=as_json)


@db.command()
@click.option("--older-than", required=True, metavar="AGE", help="For example 30d, 12h, 90m.")
@click.option("--refused", is_flag=True, help="Only requests that were refused.")
@yes_option
@json_option
def prune(older_than: str, *, refused: bool, yes: bool, as_json: bool) -> None:
    """Delete deliveries older than AGE, except pending and parked ones. Asks first."""
    from receiver.cli.db.store import need_store
    from receiver.deliveries.archive import Archive

    before, store = time.time() - read_duration(older_than, "age", "30d"), need_store()
    if not yes:
        which = "refused requests" if refused else "deliveries"
        confirm_first(f"delete the {which} in {store} that are older than {older_than}", declined="nothing was deleted")
    deleted = Archive(store).prune(before, refused=refused)
    if as_json:
        print_json({"deleted": deleted})
    else:
        say(f"{counted(deleted, 'delivery', 'deliveries')} deleted")
