"""Driver: runs `queries` on the cursor of a database's driver."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy.engine.interfaces import DBAPICursor

from activities.store.database import TRANSACTION_TIMEOUT_SINCE, Database
from receiver.deliveries.queries import PREPARED


class Driver:
    """The driver of one database."""

    def __init__(self, database: Database) -> None:
        self._is_sqlite = database.is_sqlite
        self.sql = database.sql

    def execute(self, cursor: DBAPICursor, query: str, parameters: Mapping[str, Any]) -> None:
        """Run a query."""
        if self._is_sqlite:
            cursor.execute(self.sql(query), parameters)
        else:
            psycopg_cursor: Any = cursor
            psycopg_cursor.execute(self.sql(query), parameters, prepare=query in PREPARED)

    def rows(self, cursor: DBAPICursor, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a query: values by column name."""
        self.execute(cursor, query, parameters)
        if not (found := cursor.fetchall()):
            return []  # most queries about a new delivery find nothing, and psycopg takes long to describe columns
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    def execute_many(self, cursor: DBAPICursor, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a query once for each row of parameters."""
        if len(rows) == 1:
            self.execute(cursor, query, rows[0])  # psycopg's pipeline would cost twice as much
            return
        if self._is_sqlite or query in PREPARED:
            cursor.executemany(self.sql(query), rows)
        else:
            with _not_preparing(cast(Any, cursor).connection):
                cursor.executemany(self.sql(query), rows)
        self.bound_idling(cursor)

    def returned_by_many(self, cursor: DBAPICursor, query: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run a query that returns a single column, once for each row of parameters. Only for PostgreSQL."""
        if len(rows) == 1:
            self.execute(cursor, query, rows[0])
            return [value for (value,) in cursor.fetchall()]
        many: Any = cursor  # psycopg's `returning`: one round trip for all rows, and a result set for each row
        many.executemany(self.sql(query), rows, returning=True)
        returned = [value for (value,) in many.fetchall()]
        while many.nextset():
            returned += [value for (value,) in many.fetchall()]
        self.bound_idling(cursor)
        return returned

    def bound_idling(self, cursor: DBAPICursor) -> None:
        """Restore an older PostgreSQL's limit on idling after `executemany`; see `TRANSACTION_TIMEOUT_SINCE`."""
        connection: Any = getattr(cursor, "connection", None)
        if not self._is_sqlite and connection.info.server_version < TRANSACTION_TIMEOUT_SINCE:
            cursor.execute("SELECT 1")

    def texts(self, texts: set[str], name: str = "texts") -> dict[str, str]:
        """The list parameter of a query; see the fragments `among_texts` and `among_request_ids`."""
        return {name: json.dumps(sorted(texts)) if self._is_sqlite else _array(sorted(texts))}


@contextmanager
def _not_preparing(connection: Any) -> Iterator[None]:
    """Prepare no query while the block runs: psycopg would prepare each that it runs for several rows."""
    threshold, connection.prepare_threshold = connection.prepare_threshold, None
    try:
        yield
    finally:
        connection.prepare_threshold = threshold


def _array(texts: Sequence[str]) -> str:
    """PostgreSQL's notation of an array of texts. psycopg takes as long for a list as for the rest of a query."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"
