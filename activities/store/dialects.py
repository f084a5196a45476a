"""What differs between the two databases: fragments of queries, and how a writing transaction begins."""

from __future__ import annotations

from typing import Final

SQLITE: Final[dict[str, str]] = {
    "among_texts": "IN (SELECT value FROM json_each(:texts))",
    "among_request_ids": "IN (SELECT value FROM json_each(:request_ids))",
    "inserted": "",
    "has_next": "",
    "lock": "",
    "lock_deliveries": "",
    "skip_locked": "",
    "may_match": "1",
    "wait_to_match": "1",
}
"""SQLite's fragments. It needs no row locks: `BEGIN_SQLITE` excludes all other writers."""

MATCHING_LOCK: Final = 7_392_641
"""The number of the advisory lock of a receiver that matches; any number that no other client of the database uses."""

POSTGRES: Final[dict[str, str]] = {
    "among_texts": "= ANY(CAST(:texts AS text[]))",
    "among_request_ids": "= ANY(CAST(:request_ids AS text[]))",
    "inserted": "RETURNING id",
    "has_next": "RETURNING EXISTS (SELECT 1 FROM deliveries AS next WHERE next.chain_id = :chain_id "
    "AND next.stage = :stage AND CASE WHEN next.request_id IS NULL THEN 0 ELSE 1 END = 1 "
    "AND coalesce(next.due_at, -1) >= 0 "
    "AND next.id <> deliveries.id)",
    "lock": "FOR UPDATE",
    "lock_deliveries": "FOR UPDATE OF deliveries",
    "skip_locked": "FOR UPDATE OF deliveries SKIP LOCKED",
    "may_match": f"CASE WHEN pg_try_advisory_xact_lock({MATCHING_LOCK}) THEN 1 ELSE 0 END",
    "wait_to_match": f"pg_advisory_xact_lock({MATCHING_LOCK})",
}
"""PostgreSQL's fragments.

among_texts, among_request_ids: is one of the list parameter `:texts` or `:request_ids`. A subquery would be a join, and
PostgreSQL would choose its way by what it knows of the table: from a new store it would read every success for each
callback. inserted: the ids of the inserted rows.
has_next: for each updated delivery, whether another one of its stage is queued; in SQLite a query of its own costs
no round trip. For the form of its conditions see `queries.FRAGMENTS`.
lock_deliveries: wait for the transactions that have locked the rows. skip_locked: leave out the rows that another
receiver is claiming.
may_match: 1 if no other receiver is matching, and then none begins before the end of this transaction; otherwise 0.
wait_to_match: wait until no other receiver is matching, with the same effect.
"""

BEGIN_SQLITE: Final = "BEGIN IMMEDIATE"
"""Begin a writing transaction. A plain BEGIN could fail later, at the first statement that writes."""

BOUNDS: Final = """
    set_config('statement_timeout', '{limit}', {local}),
    set_config('idle_in_transaction_session_timeout', '{idle}', {local}),
    CASE WHEN current_setting('server_version_num')::int >= {transaction_timeout_since}
        THEN set_config('transaction_timeout', '{limit}', {local}) END,
    CASE WHEN position('linux' in version()) > 0 THEN set_config('tcp_user_timeout', '{idle}', {local}) END
"""
"""Expressions that limit PostgreSQL's transactions; see `Database.bounds`.

limit, idle: milliseconds. local: whether for this transaction only, `true` or `false`.
"""

WRITER_BOUNDS: Final = "{bounds}, set_config('lock_timeout', '{lock_timeout_ms}ms', {local})"
"""Expressions that limit a receiver's transactions: `BOUNDS`, and the time to wait for another transaction's lock."""

DURABLE: Final = (
    "set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)"
)
"""Expression that has this transaction on the disk before its commit is answered.

Each transaction asks for the setting of this moment. Example: an operator has a standby, and raises the setting to
`remote_apply` while receivers run.
"""

BEGIN_POSTGRES: Final = f"BEGIN; SELECT {DURABLE}"
"""Begin a writing transaction in a session that keeps `WRITER_BOUNDS`, in a single round trip."""

BEGIN_POOLED: Final = BEGIN_POSTGRES + ", {bounds}"
"""The same in a session that does not keep `WRITER_BOUNDS`."""

SET_SESSION: Final = "SELECT {bounds}, set_config('enable_seqscan', 'off', false)"
"""Set up the session of a direct connection, which no other client uses.

enable_seqscan: a prepared query keeps its plan. Example: in a new store, reading the whole table is cheapest. Without
this, the lookup would go on reading all of it until PostgreSQL analyzes the table, a minute and many rows later.
"""
