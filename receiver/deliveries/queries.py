"""Queries: the receiver's SQL. Each query has a name, and the text below it says what it does and why.

Read this first, beside the columns and indexes in `schema`. `Statements` runs the queries for the receiver.

`:name` is a parameter. `{name}` is a fragment: one of `FRAGMENTS`, or, where the two databases differ, one of `SQLITE`
or `POSTGRES`. `Database.sql` puts the fragments in, and writes the parameters in the driver's style.

A delivery is queued while `due_at` is set. Its row is inserted, claimed (leased to the process that sends its signal),
and concluded. Nothing here commits: each query is part of the transaction that `BEGIN_SQLITE` or `BEGIN_POSTGRES`
begins.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from receiver.deliveries.schema import DELIVERIES, IS_REFUSED_REQUEST, RECORD

SQLITE: Final[dict[str, str]] = {
    "texts": "SELECT value FROM json_each(:texts)",
    "inserted": "",
    "lock": "",
    "skip_locked": "",
}
"""SQLite's fragments. It needs no row locks: `BEGIN_SQLITE` excludes all other writers."""

POSTGRES: Final[dict[str, str]] = {
    "texts": "SELECT unnest(CAST(:texts AS text[]))",
    "inserted": "RETURNING id",
    "lock": "FOR UPDATE",
    "skip_locked": "FOR UPDATE OF deliveries SKIP LOCKED",
}
"""PostgreSQL's fragments.

texts: the rows of the list parameter `:texts`. inserted: the ids of the inserted rows. skip_locked: leave out the rows
that another receiver is claiming.
"""

_INSERTED: Final = [column.name for column in DELIVERIES.c if column.name != "position"]
_TEXTS: Final = [column.name for column in DELIVERIES.c if isinstance(column.type, sa.Text)]

FRAGMENTS: Final[dict[str, str]] = {
    "first": "id, status, verdict, fate, request_id, CASE WHEN due_at IS NULL THEN fate_at END AS concluded_at, "
    "callback IS NULL AS bare",
    "queued_since": "CASE WHEN fate_at > 0 THEN fate_at ELSE received_at END",
    "is_refused_request": IS_REFUSED_REQUEST,
    "record": ", ".join(column.name for column in RECORD),
    "inserted_columns": ", ".join(_INSERTED),
    "inserted_values": ", ".join(f":{name}" for name in _INSERTED),
    "length_of_texts": " + ".join(f"coalesce(length({name}), 0)" for name in _TEXTS),
}
"""The fragments of both databases.

first: the columns of a `First`. queued_since: a delivery that was queued again, by an operator or by a repeat of its
content, waits since `fate_at`.
"""

# --- transactions

BEGIN_SQLITE: Final = "BEGIN IMMEDIATE"
"""Begin a writing transaction. A plain BEGIN could fail later, at the first statement that writes."""

BOUNDS: Final = """
    set_config('statement_timeout', '{limit}', true),
    set_config('idle_in_transaction_session_timeout', '{idle}', true),
    CASE WHEN current_setting('server_version_num')::int >= {transaction_timeout_since}
        THEN set_config('transaction_timeout', '{limit}', true) END,
    CASE WHEN position('linux' in version()) > 0 THEN set_config('tcp_user_timeout', '{idle}', true) END
"""
"""Expressions that limit a PostgreSQL transaction; see `Database.bounds`. limit, idle: milliseconds."""

BEGIN_POSTGRES: Final = """
    BEGIN;
    SELECT {bounds},
        set_config('lock_timeout', '{lock_timeout_ms}ms', true),
        set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)
"""
"""BEGIN, and the settings that SQLite gets once per connection, in a single round trip."""

CHECK_COLUMNS: Final = "SELECT {record} FROM deliveries WHERE 1 = 0"
"""Fail unless the table has the columns of a `Delivery` in this version; no row is read."""

CHECK_WRITABLE: Final = "SELECT position FROM deliveries WHERE 1 = 0 {lock}"
"""Fail unless the table can be written to; no row is read."""

# --- what is known about new deliveries

FIRST: Final = "SELECT {first} FROM deliveries WHERE id = :id"
"""A delivery by its id."""

FIRSTS: Final = "SELECT {first} FROM deliveries WHERE request_id IN ({texts})"
"""The first deliveries with some contents, by request id."""

QUEUED_STAGES: Final = """
    SELECT DISTINCT chain_id, stage FROM deliveries
    WHERE chain_id IN ({texts}) AND request_id IS NOT NULL AND coalesce(due_at, -1) >= 0
"""
"""The stages of some chains that have a queued delivery. For the last condition see `CLAIM`."""

SUCCESSES: Final = """
    SELECT chain_id, stage, attempt, issued_at, signed_id, body_digest, {first} FROM deliveries
    WHERE chain_id IN ({texts}) AND request_id IS NOT NULL AND says = 'succeeded' AND fate = 'taken'
    ORDER BY position
"""
"""The successes of some chains that Temporal took."""

CALLBACKS: Final = "SELECT id, callback FROM deliveries WHERE id IN ({texts})"
"""The kept callbacks of some deliveries, as JSON."""

# --- new deliveries, and repeats of their content

INSERT: Final = """
    INSERT INTO deliveries ({inserted_columns}) VALUES ({inserted_values}) ON CONFLICT DO NOTHING {inserted}
"""
"""Insert a delivery, unless its id or request id exists: another process may have been faster."""

PROMISE: Final = "UPDATE deliveries SET promised = 1 WHERE id = :id AND due_at IS NOT NULL"
"""Record that a repeat of a queued delivery's content is answered 2xx. `CONCLUDE` then records no refusal."""

COMPLETE: Final = "UPDATE deliveries SET callback = :callback WHERE id = :id AND callback IS NULL"
"""Add the callback to a delivery that was kept without it."""

REQUEUE: Final = """
    UPDATE deliveries
    SET due_at = :at, fate_at = :at, tries = 0, fate = CASE WHEN fate = 'refused' THEN 'pending' ELSE fate END
    WHERE id = :id AND due_at IS NULL
"""
"""Queue a delivery again. A taken delivery keeps its fate, so that it still counts as the stage's success."""

GIVE_UP: Final = "UPDATE deliveries SET request_id = NULL WHERE id = :id"
"""Let a content count as new: no delivery has its request id any more."""

ANSWER: Final = "UPDATE deliveries SET status = :status WHERE id = :id"
"""Record the HTTP status of a delivery's answer."""

DESCRIBE: Final = "UPDATE deliveries SET pipeline = :pipeline, definition = :definition WHERE id = :id"
"""Record the pipeline that a delivery is for."""

# --- the queue

CLAIM: Final = """
    UPDATE deliveries SET due_at = :until
    WHERE position IN (
        SELECT position FROM deliveries
        WHERE due_at IS NOT NULL AND (due_at <= :at OR due_at > :never)
            AND NOT EXISTS (
                SELECT 1 FROM deliveries AS earlier
                WHERE coalesce(earlier.due_at, -1) >= 0 AND earlier.chain_id = deliveries.chain_id
                    AND earlier.stage = deliveries.stage AND earlier.position < deliveries.position
            )
        ORDER BY position LIMIT :most {skip_locked}
    )
    RETURNING id, workflow_id, chain_id, stage, attempt, partner, issued_at, expires_at, callback, request_id, tries,
        pipeline, fate, {queued_since} AS since
"""
"""Lease deliveries that are due, in order; of each stage, only the oldest queued.

never: a delivery due later than this moment was scheduled by a wrong clock, and counts as due.
coalesce(...): only the index by stage has this condition (`ix_deliveries_line`). In quiet times PostgreSQL's statistics
say that the queue is empty. With `due_at IS NOT NULL` it would then read the whole queue for each row of a backlog.
"""

CONCLUDE: Final = """
    UPDATE deliveries
    SET fate = CASE WHEN :told = 1 AND promised IS NOT NULL THEN :if_promised ELSE :fate END,
        fate_reason = :reason,
        fate_at = CASE WHEN :over = 1 THEN :at ELSE fate_at END,
        tries = :tries,
        due_at = :due_at,
        verdict = CASE WHEN :told = 1 AND promised IS NULL THEN :verdict ELSE verdict END,
        status = CASE WHEN :told = 1 AND promised IS NULL THEN :status ELSE status END,
        body = CASE WHEN :told = 1 AND promised IS NULL AND body_size > :longest THEN NULL ELSE body END
    WHERE id = :id AND (:final = 1 OR due_at IS NOT NULL)
"""
"""Record the result of a try. If the row is no longer queued, only a final fate counts.

Numbers in place of booleans: told: the partner is told a refusal, unless a repeat of the content was promised a 2xx.
over: there is no next try. final: the fate is taken or refused.
longest: bytes of the longest body that a refused delivery keeps.
"""

SIZES: Final = """
    SELECT id, partner,
        CASE WHEN body_size > :longest THEN 0 ELSE coalesce(length(body), 0) END + {length_of_texts} AS size
    FROM deliveries WHERE id IN ({texts})
"""
"""Sizes of some deliveries once they are refused, without `ROW_OVERHEAD`. `CONCLUDE` removes a body over `longest`."""

DROP: Final = "DELETE FROM deliveries WHERE id = :id AND promised IS NULL"
"""Delete a delivery, unless a repeat of its content was answered 2xx."""

DEPTH: Final = """
    SELECT
        (SELECT count(*) FROM (SELECT position FROM deliveries WHERE due_at IS NOT NULL LIMIT :most) AS queued)
            AS pending,
        (SELECT min(since) FROM (
            SELECT {queued_since} AS since FROM deliveries WHERE due_at IS NOT NULL ORDER BY position LIMIT :among
        ) AS head) AS oldest,
        (SELECT count(*) FROM (
            SELECT position FROM deliveries WHERE fate = 'parked' AND callback IS NOT NULL LIMIT :most
        ) AS held) AS parked
"""
"""Count pending and parked deliveries, and find the oldest pending, reading only the heads of their indexes.

A delivery imported as parked has no callback: it waits for an operator of another store, and is not counted.
"""

# --- retention

PRUNE: Final = """
    DELETE FROM deliveries
    WHERE position IN (
        SELECT position FROM deliveries
        WHERE received_at < :before AND due_at IS NULL AND NOT (fate = 'parked' AND callback IS NOT NULL)
        LIMIT :most
    )
"""
"""Delete old deliveries, at most `most`, but not those that are pending or parked."""

PRUNE_REFUSED: Final = """
    DELETE FROM deliveries
    WHERE position IN (
        SELECT position FROM deliveries
        WHERE received_at < :before AND due_at IS NULL AND NOT (fate = 'parked' AND callback IS NOT NULL)
            AND {is_refused_request}
        LIMIT :most
    )
"""
"""Like `PRUNE`, but only refused requests. An index of its own finds them among all other deliveries."""
