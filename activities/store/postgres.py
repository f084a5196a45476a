"""Postgres: connections that give up on a server that does not answer.

libpq waits forever for a stuck backend, or for a pooler whose server is gone: for TCP, both connections are healthy.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from activities.store.database import CLIENT_GRACE, TRANSACTION_SECONDS
from activities.store.errors import Unanswered

T = TypeVar("T")

WAKE_SECONDS: Final = 0.1
"""How often psycopg wakes up from a wait; its own default."""


class NoAnswer(Unanswered, psycopg.OperationalError):
    """The server has not answered in time. The connection is closed."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that closes itself when the server does not answer in time.

    seconds: how long one transaction may take, from its first statement to its end.
    owns_session: whether the session keeps settings and prepared queries; see `keep_session`.
    """

    seconds = TRANSACTION_SECONDS + CLIENT_GRACE
    owns_session = False
    _ends_at = 0.0

    def has_own_session(self) -> bool:
        """Whether this connection leads to the server directly, and not through a pooler.

        PostgreSQL tells each client the number of the server's process, with which the client may cancel a query.
        PgBouncer tells another number, because it gives each transaction to any free process.
        """
        row = self.execute("SELECT pg_backend_pid()").fetchone()
        return row is not None and row[0] == self.info.backend_pid

    def keep_session(self) -> None:
        """Allow prepared queries. psycopg then also prepares each query that it runs for several rows."""
        self.owns_session = True
        self.prepare_threshold = sys.maxsize

    def wait(self, gen: PQGen[T], interval: float = WAKE_SECONDS, timeout: float | None = None) -> T:
        """Wait for the server, as psycopg does for each statement; raises `NoAnswer` after `seconds`.

        The name is psycopg's: every statement, commit and rollback waits here.
        """
        now = time.monotonic()
        if self.pgconn.transaction_status == TransactionStatus.IDLE:
            self._ends_at = now + self.seconds
        left = max(0.0, self._ends_at - now)
        try:
            return super().wait(gen, interval, left if timeout is None else min(left, timeout))
        except psycopg.OperationalError as error:
            if time.monotonic() < self._ends_at:
                raise
            # Do not cancel the request. Example: a commit waits for a synchronous standby. If it is cancelled, the next
            # transaction sees the row and answers 202 for it, although the standby does not have it.
            self.close()
            raise NoAnswer(f"the server has not answered within {self.seconds:g} s") from error
