"""The schema of the store: print its version, upgrade it to this program's, and take it back to an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from activities.store import migrations
from activities.store.database import Database
from activities.store.errors import NewerSchema, SchemaMissing
from activities.store.packing import BadPacking
from receiver.cli.db.store import need_store, read_store
from receiver.cli.db.unpacking import BAD_ADVICE
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import confirm_first, note, print_json, say

INCOMPLETE_ADVICE: Final = "restore the whole store from a backup; `stagehook db upgrade` cannot make the missing part"


def upgrade_store() -> None:
    """Upgrade the store of DATABASE_URL, if it is set, to this program's schema; prints what was done.

    Raises `CommandError` if the store then lacks a table or a column.
    """
    store = read_store()
    if store is None:
        note("no DATABASE_URL, no store: nothing to upgrade")
        return
    before, is_later = migrations.current(store), False
    with _requiring_tables():
        try:
            migrations.upgrade(store, on_wait=partial(_say_waiting, store))
        except NewerSchema:
            # A deploy that is rolled back runs this too, and every migration only adds.
            is_later = True
        store.check()
    if is_later:
        note(f"{store} is at {before}, of a later version than this program, and has what this one needs")
        return
    after = migrations.current(store)
    note(f"{store} is at {after}" + ("" if before == after else f", upgraded from {before or 'nothing'}"))


def downgrade_store(revision: str, *, yes: bool) -> None:
    """Take the store of DATABASE_URL back to an earlier revision, and print it. yes: do not ask first.

    Raises `CommandError` for a revision that the store cannot be taken back to, and `NewerSchema`.
    """
    store = need_store()
    known, before = migrations.revisions(), migrations.current(store)
    if before and before not in known:
        raise NewerSchema(f"the store {store} is at {before}, of a later version than this program")
    possible = migrations.revisions_to_go_back_to()
    earlier = [each for each in possible if each in known[: known.index(before)]] if before else []
    if revision == before:
        note(f"{store} is at {before} already")
        return
    if revision not in earlier:
        keep = f"leave it at {before or 'no revision'}: an earlier revision cannot be restored"
        advice = f"use one of {', '.join(earlier)}" if earlier else keep
        raise CommandError(f"the store {store} cannot be taken back to {revision!r}", advice, Exit.USAGE)
    if not yes:
        what = f"take {store} back from {before} to {revision}; what only later revisions keep is deleted"
        confirm_first(what, declined="nothing was changed")
    try:
        migrations.downgrade(store, revision, partial(_say_waiting, store))
    except BadPacking as error:
        raise CommandError(f"{error}; nothing was changed", BAD_ADVICE) from error
    note(f"{store} is at {revision}, taken back from {before}")


def print_versions(*, as_json: bool) -> Exit:
    """Print the version of the store's schema and this program's; FAILED if they differ.

    Raises `CommandError` if they are the same, and the store lacks a table or a column.
    """
    store = need_store()
    found, wanted = migrations.current(store), migrations.latest()
    if found == wanted:
        with _requiring_tables():
            store.check()
    if as_json:
        print_json({"current": found, "latest": wanted})
    else:
        say(found or "none")
        note("up to date" if found == wanted else f"this program's is {wanted}: run `stagehook db upgrade`")
    return Exit.OK if found == wanted else Exit.FAILED


def _say_waiting(store: Database) -> None:
    note(f"waiting for a lock in {store}: another transaction, such as pg_dump's, uses its tables; receivers go on")


@contextmanager
def _requiring_tables() -> Iterator[None]:
    """Report tables that are missing whatever the revision says, as after a partial restore."""
    try:
        yield
    except SchemaMissing as error:
        raise CommandError(str(error), INCOMPLETE_ADVICE) from error
