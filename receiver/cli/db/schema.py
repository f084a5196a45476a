"""The schema of the store: print its version, and upgrade it to this program's."""

from __future__ import annotations

from activities.store import migrations
from activities.store.database import NewerSchema
from receiver.cli.db.store import need_store, read_store
from receiver.cli.errors import Exit
from receiver.cli.output import note, print_json, say


def upgrade_store() -> None:
    """Upgrade the store of DATABASE_URL, if it is set, to this program's schema; prints what was done."""
    store = read_store()
    if store is None:
        note("no DATABASE_URL, no store: nothing to upgrade")
        return
    before = migrations.current(store)
    try:
        migrations.upgrade(store)
    except NewerSchema:
        # A deploy that is rolled back runs this too, and every migration only adds.
        store.check()
        note(f"{store} is at {before}, of a later version than this program, and has what this one needs")
        return
    after = migrations.current(store)
    note(f"{store} is at {after}" + ("" if before == after else f", upgraded from {before or 'nothing'}"))


def print_versions(*, as_json: bool) -> Exit:
    """Print the version of the store's schema and this program's; FAILED if they differ."""
    store = need_store()
    found, wanted = migrations.current(store), migrations.latest()
    if as_json:
        print_json({"current": found, "latest": wanted})
    else:
        say(found or "none")
        note("up to date" if found == wanted else f"this program's is {wanted}: run `stagehook db upgrade`")
    return Exit.OK if found == wanted else Exit.FAILED
