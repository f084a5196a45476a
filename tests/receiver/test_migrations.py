"""The store's schema: from nothing, twice, at once, from the version before, and what an operator sees of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from activities.callback_urls import Claims
from activities.store import migrations
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from activities.store.errors import NewerSchema, SchemaMissing, SeveralRevisions
from activities.store.schema import DELIVERIES, METADATA
from receiver.deliveries.archive import Archive
from receiver.deliveries.rows import to_row
from tests.commands import command
from tests.parts.deliveries import delivery
from tests.parts.empty_stores import SQLiteFiles
from tests.parts.filled_stores import on
from tests.stores import Postgres


def tables(database: Database) -> set[str]:
    with database.begin() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_an_upgrade_twice_is_an_upgrade_once(empty_database: Database) -> None:
    assert migrations.current(empty_database) == ""
    migrations.upgrade(empty_database)
    migrations.upgrade(empty_database)
    assert migrations.current(empty_database) == migrations.latest()


def test_the_migrations_make_what_the_schema_says(database: Database) -> None:
    with database.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, METADATA) == []


def test_every_version_is_reached_from_the_one_before(empty_database: Database) -> None:
    script = ScriptDirectory.from_config(migrations._config())
    for revision in reversed(list(script.walk_revisions())):
        migrations.upgrade(empty_database, revision.revision)
        assert migrations.current(empty_database) == revision.revision
    empty_database.check()


def test_releases_at_once_upgrade_once(empty_database: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: migrations.upgrade(empty_database), range(4)))
    assert migrations.current(empty_database) == migrations.latest()


def test_a_store_of_a_later_version_is_left_alone(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerSchema):
        migrations.upgrade(database)
    assert DELIVERIES.name in tables(database)


def test_what_the_version_before_has_kept_is_kept(empty_database: Database) -> None:
    """And a receiver of that version runs on while the release is under way."""
    *_, first = ScriptDirectory.from_config(migrations._config()).walk_revisions()
    migrations.upgrade(empty_database, first.revision)
    kept = [delivery(f"chain-{n}") for n in range(3)]
    with empty_database.begin() as connection:
        old = sa.Table(DELIVERIES.name, sa.MetaData(), autoload_with=connection)
        columns = {column.name for column in old.c}
        rows = [{name: value for name, value in to_row(one).items() if name in columns} for one in kept]
        connection.execute(sa.insert(old).values(rows))
    migrations.upgrade(empty_database)
    assert list(Archive(empty_database).every()) == kept
    with empty_database.begin() as connection:
        connection.execute(sa.insert(old).values({**rows[0], "id": "another"}))


def test_a_store_goes_back_to_the_version_before(database: Database) -> None:
    kept = delivery()
    Archive(database).add([kept])
    migrations.downgrade(database, "0005")
    assert migrations.current(database) == "0005"
    assert "calls" not in tables(database)
    migrations.upgrade(database)
    assert list(Archive(database).every()) == [kept]


async def test_going_back_removes_calls_for_statistics_only(database: Database) -> None:
    """The version before would wait for their references."""
    table = Calls(database)
    await table.begin(Claims("by-reference", "c", 1, 1, "bank", 1, 2))
    await table.note([NotedCall(Claims("by-url", "c", 1, 1, "bank", 1, 2), CallOrigin(stage_by="url"), 1.0)])
    migrations.downgrade(database, "0006")
    with database.begin() as connection:
        assert list(connection.execute(sa.text("SELECT workflow_id FROM calls")).scalars()) == ["by-reference"]
    with pytest.raises(SchemaMissing):
        database.check()
    migrations.upgrade(database)
    database.check()


def test_going_back_restores_the_indexes_of_then(database: Database) -> None:
    """And how PostgreSQL vacuums the table."""

    def shape() -> tuple[set[str], bool]:
        with database.begin() as connection:
            indexes = {str(index["name"]) for index in sa.inspect(connection).get_indexes(DELIVERIES.name)}
            options = "SELECT reloptions IS NOT NULL FROM pg_class WHERE relname = 'deliveries'"
            is_tuned = not database.is_sqlite and bool(connection.exec_driver_sql(options).scalar())
        return indexes & {"ix_deliveries_stage", "ix_deliveries_succeeded"}, is_tuned

    now = ({"ix_deliveries_succeeded"}, not database.is_sqlite)
    assert shape() == now
    migrations.downgrade(database, "0007")
    assert shape() == ({"ix_deliveries_stage"}, False)
    migrations.upgrade(database)
    assert shape() == now


def test_going_back_waits_for_a_writer(sqlite_files: SQLiteFiles, tmp_path: Path) -> None:
    """A transaction that read before another's write can never write in SQLite, however long it waits."""
    database = sqlite_files.copy(tmp_path)
    writer = sqlite3.connect(str(database.url.database), timeout=0, isolation_level=None)

    def write(*read: Any) -> None:
        if "alembic_version" in str(read[2]):
            with suppress(sqlite3.OperationalError):
                writer.execute("UPDATE alembic_version SET version_num = version_num")

    sa.event.listen(database.engine, "after_cursor_execute", write)
    migrations.downgrade(database, "0010")
    assert migrations.current(database) == "0010"
    writer.close()


def test_an_operator_takes_a_store_back(database: Database) -> None:
    url: dict[str, Any] = {"DATABASE_URL": database.url.render_as_string(hide_password=False)}
    unasked = command("db", "downgrade", "--to", "0005", **url)
    assert (unasked.code, "say --yes" in unasked.err) == (2, True)
    for revision in ("9999", "base", "-1", "0001", "0004"):
        refused = command("db", "downgrade", f"--to={revision}", "--yes", **url)
        assert (refused.code, f"cannot be taken back to {revision!r}" in refused.err) == (2, True)
        assert "try: use one of 0005, 0006" in refused.err
    assert migrations.current(database) == migrations.latest()
    for said in ("is at 0005, taken back from", "is at 0005 already"):
        done = command("db", "downgrade", "--to", "0005", "--yes", **url)
        assert (done.code, said in done.err) == (0, True)
        assert migrations.current(database) == "0005"
    last = command("db", "downgrade", "--to", "0004", "--yes", **url)
    assert (last.code, "try: leave it at 0005" in last.err) == (2, True)


def test_a_revision_without_a_way_back_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="cannot be taken back to '0004'"):
        migrations.downgrade(database, "0004")
    assert migrations.current(database) == migrations.latest()


def test_a_store_of_a_later_version_is_not_taken_back(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    url: dict[str, Any] = {"DATABASE_URL": database.url.render_as_string(hide_password=False)}
    done = command("db", "downgrade", "--to", "0005", "--yes", **url)
    assert (done.code, "of a later version" in done.err) == (1, True)


def test_a_rolled_back_version_works_with_a_later_schema(database: Database) -> None:
    url: dict[str, Any] = {"DATABASE_URL": database.url.render_as_string(hide_password=False)}
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(sa.text("ALTER TABLE deliveries ADD COLUMN later TEXT"))
    done = command("db", "upgrade", **url)
    assert (done.code, "has what this one needs" in done.err) == (0, True)
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE deliveries DROP COLUMN client"))
    done = command("db", "upgrade", **url)
    assert (done.code, "has no tables of this version" in done.err) == (1, True)


@pytest.mark.parametrize("table", ["calls", "deliveries"])
@pytest.mark.parametrize("revision", ["0010", "head"])
def test_a_store_without_its_tables_is_told(empty_database: Database, table: str, revision: str) -> None:
    """As after a partial restore. A deploy must not go on, and the advice is not the command that has just failed."""
    migrations.upgrade(empty_database, revision)
    with empty_database.begin() as connection:
        connection.execute(sa.text(f"DROP TABLE {table}"))
    for words in (["upgrade"], ["upgrade"], ["current", "--json"] if revision == "head" else ["upgrade"]):
        done = on(empty_database, "db", *words)
        assert (done.code, done.out, table in done.err) == (1, "", True)
        assert "try: restore the whole store from a backup" in done.err


def test_a_store_of_two_revisions_is_told(database: Database) -> None:
    """As after a restore into a database that had a store already."""
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('0009')"))
    for words in (["upgrade"], ["current"], ["downgrade", "--to", "0005", "--yes"]):
        done = on(database, "db", *words)
        assert (done.code, done.out) == (1, "")
        assert "has 2 revisions in its table alembic_version: 0009, 0011" in done.err
        assert "try: delete all rows of alembic_version but that of the tables' revision" in done.err
    with pytest.raises(SeveralRevisions):
        migrations.upgrade(database)


def test_operators_upgrade_and_ask(empty_database: Database) -> None:
    url: dict[str, Any] = {"DATABASE_URL": empty_database.url.render_as_string(hide_password=False)}
    # SQLite's file is not there yet: that is a store out of reach.
    assert command("db", "current", **url).code == (7 if empty_database.is_sqlite else 1)
    assert command("db", "upgrade", **url).code == 0
    asked = command("db", "current", "--json", **url)
    assert (asked.code, json.loads(asked.out)) == (0, {"current": migrations.latest(), "latest": migrations.latest()})
    old, late = delivery(received_at=1.0), delivery("chain-2")
    refused = delivery(verdict="unproven", status=401, received_at=1.0)
    Archive(empty_database).add([old, late, refused])
    assert command("db", "prune", "--older-than", "7d", "--refused", "--yes", **url).out == "1 delivery deleted\n"
    assert list(Archive(empty_database).every()) == [old, late]
    assert command("db", "prune", "--older-than", "30d", "--yes", **url).out == "1 delivery deleted\n"
    assert list(Archive(empty_database).every()) == [late]


@pytest.fixture
def read_store(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Database, sa.Connection]]:
    """A store of the version before, and a transaction that reads it, as pg_dump's."""
    monkeypatch.setattr(migrations, "UPGRADE_SECONDS", 60.0)
    database = Database(postgres.new_database())
    migrations.upgrade(database, "0010")
    with database.engine.connect() as reader:
        reader.execute(sa.text("SELECT 1 FROM deliveries"))
        yield database, reader


def test_receivers_go_on_while_an_upgrade_waits(
    read_store: tuple[Database, sa.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that waits for a reader holds up all who ask after it."""
    database, reader = read_store
    pauses: list[float] = []

    def go_on(seconds: float) -> None:
        with database.begin() as receiver:
            receiver.execute(sa.text("LOCK TABLE deliveries IN ROW EXCLUSIVE MODE NOWAIT"))
        pauses.append(seconds)
        if len(pauses) == 3:
            reader.close()

    monkeypatch.setattr(migrations, "sleep", go_on)
    done = on(database, "db", "upgrade")
    assert (done.code, len(pauses)) == (0, 3)
    assert done.err.count("waiting for a lock") == 1
    assert migrations.current(database) == migrations.latest()


def test_an_upgrade_does_not_wait_for_ever(
    read_store: tuple[Database, sa.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _ = read_store
    monkeypatch.setattr(migrations, "LOCK_PAUSE", 60.0)
    done = on(database, "db", "upgrade")
    assert (done.code, "another process holds a lock in the store" in done.err) == (7, True)
    assert migrations.current(database) == "0010"


def test_a_release_without_a_store_is_no_error() -> None:
    done = command("db", "upgrade")
    assert (done.code, done.err) == (0, "no DATABASE_URL, no store: nothing to upgrade\n")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "is not a database URL"),
        ("mysql://u:secret@db.example/x", "names neither SQLite nor PostgreSQL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgres://u:secret@127.0.0.1:1/x", "cannot be used"),
        ("postgres://127.0.0.1:1/x?user=u&password=secret", "cannot be used"),
        ("postgres://u:secret@h:notaport/db", "is not a database URL"),
        ("postgres://u:secret@[::1/db", "is not a database URL"),
    ],
)
def test_a_wrong_url_is_said_without_its_password(url: str, says: str) -> None:
    done = command("db", "upgrade", DATABASE_URL=url)
    assert done.code in {2, 7}
    assert says in done.err
    assert "secret" not in done.err
