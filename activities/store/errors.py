"""The errors of the store, apart from `database`, which imports SQLAlchemy: most commands have no store."""

from __future__ import annotations


class StoreAway(Exception):
    """The store cannot be used now. The message says why, without the database's password."""


class NoStore(StoreAway):
    """DATABASE_URL is not set, so nothing is kept."""

    def __init__(self) -> None:
        super().__init__("DATABASE_URL is not set, so no store is used")


class StoreBusy(StoreAway):
    """Another process has held a lock, or been writing to SQLite's file, for longer than a statement waits."""


class StoreMute(StoreAway):
    """The store has not answered in time. It may have committed what it was sent, or may still commit it."""


class StoreSlow(StoreAway):
    """A query took longer than it may, and was ended; the store itself may be well."""


class Unanswered(Exception):
    """Base of the driver's error for a server that has not answered in time."""


class SchemaMissing(StoreAway):
    """The store is reachable, but its tables are missing, or belong to an earlier version."""


class NewerSchema(StoreAway):
    """The store has a revision that this version does not know."""


class SeveralRevisions(StoreAway):
    """The table alembic_version, which holds the store's revision, has several rows."""


class BadDatabaseURL(ValueError):
    """DATABASE_URL is invalid. The message completes the sentence that begins with the variable's name."""
