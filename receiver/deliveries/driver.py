"""Driver: runs `queries` on the cursor of a database's driver."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine.interfaces import DBAPICursor

from activities.store.database import TRANSACTION_TIMEOUT_SINCE, Database


class Driver:
    """The driver of one database."""

    def __init__(self, database: Database) -> None:
        self._is_sqlite = database.is_sqlite
        self.sql = database.sql

    def execute(self, cursor: DBAPICursor, query: str, parameters: Mapping[str, Any]) -> None:
        """Run a query."""
        cursor.execute(self.sql(query), parameters)

    def rows(self, cursor: DBAPICursor, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a query: values by column name."""
        cursor.execute(self.sql(query), parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def execute_many(self, cursor: DBAPICursor, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a query once for each row of parameters."""
        cursor.executemany(self.sql(query), rows)
        self.bound_idling(cursor)

    def bound_idling(self, cursor: DBAPICursor) -> None:
        """Restore an older PostgreSQL's limit on idling after `executemany`; see `TRANSACTION_TIMEOUT_SINCE`."""
        connection: Any = getattr(cursor, "connection", None)
        if not self._is_sqlite and connection.info.server_version < TRANSACTION_TIMEOUT_SINCE:
            cursor.execute("SELECT 1")

    def texts(self, texts: set[str]) -> dict[str, Any]:
        """The list parameter of a query; see the fragment `texts`."""
        return {"texts": json.dumps(sorted(texts)) if self._is_sqlite else sorted(texts)}
