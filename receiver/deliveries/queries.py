"""Queries: the receiver's SQL. Each query has a name, and the text below it says what it does and why.

Read this first, beside the columns and indexes in `activities.store.schema`. `Statements` runs the queries for the
receiver.

`:name` is a parameter. `{name}` is a fragment: one of `FRAGMENTS`, or, where the two databases differ, one of
`activities.store.dialects`. `Database.sql` puts the latter in, and writes the parameters in the driver's style.

A delivery is queued while `due_at` is set. Its row is inserted, claimed (leased to the process that sends its signal),
and concluded. Nothing here commits: each query is part of the transaction that `BEGIN_SQLITE` or `BEGIN_POSTGRES`
begins.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from activities.store.calls import FIND_ORIGIN, FIND_ORIGINS
from activities.store.dialects import POSTGRES
from activities.store.schema import DELIVERIES, IS_REFUSED_REQUEST, RECORD
from workflows.durations import HOUR

_INSERTED: Final = [column.name for column in DELIVERIES.c if column.name != "position"]
_TEXTS: Final = [column.name for column in DELIVERIES.c if isinstance(column.type, sa.Text)]

QUEUED_SINCE: Final = "CASE WHEN fate_at > 0 THEN fate_at ELSE received_at END"

FRAGMENTS: Final[dict[str, str]] = {
    "first": "id, status, verdict, fate, request_id, CASE WHEN due_at IS NULL THEN fate_at END AS concluded_at, "
    "callback IS NULL AS bare, promised",
    "queued": "id, workflow_id, chain_id, stage, attempt, partner, issued_at, expires_at, callback, packed, "
    f"request_id, tries, fate, {QUEUED_SINCE} AS since",
    "queued_since": QUEUED_SINCE,
    "is_queued": "CASE WHEN due_at IS NULL THEN 0 ELSE 1 END = 1",
    "has_content": "CASE WHEN request_id IS NULL THEN 0 ELSE 1 END = 1",
    "is_refused_request": IS_REFUSED_REQUEST,
    "record": ", ".join(column.name for column in RECORD),
    "inserted_columns": ", ".join(_INSERTED),
    "inserted_values": ", ".join(f":{name}" for name in _INSERTED),
    "length_of_texts": " + ".join(f"coalesce(length({name}), 0)" for name in _TEXTS),
}
"""The fragments of both databases.

first: the columns of a `First`. queued: those of a `Queued`. queued_since: a delivery that was queued again, by an
operator or by a repeat of its content, waits since `fate_at`.

is_queued, has_content: `due_at IS NOT NULL` and `request_id IS NOT NULL`, for queries by an id or a chain. No index has
these forms of the conditions. Example: in quiet times PostgreSQL's statistics say that the queue is empty. With
`due_at IS NOT NULL` it would search the whole queue for the id.
"""


def _define(text: str, **own: str) -> str:
    """Put the fragments of both databases into a query, and its own ones."""
    return text.format_map(FRAGMENTS | {name: f"{{{name}}}" for name in POSTGRES} | own)


# --- transactions

CHECK_WRITABLE: Final = "SELECT position FROM deliveries WHERE 1 = 0 {lock}"
"""Fail unless the table can be written to; no row is read."""

# --- what is known about new deliveries

FIRST: Final = _define("SELECT {first} FROM deliveries WHERE id = :id")
"""A delivery by its id."""

QUEUED_STAGE: Final = _define(
    """
    SELECT chain_id, stage FROM deliveries
    WHERE chain_id = :chain_id AND stage = :stage AND {has_content} AND coalesce(due_at, -1) >= 0
    LIMIT 1
"""
)
"""A stage, if it has a queued delivery; of a long line, only one is read. For the last condition see `CLAIM`."""


def _look(*, contents: str, chains: str, lines: str) -> str:
    return _define(
        """
    SELECT 'first' AS found, position, chain_id, stage, attempt, issued_at, signed_id, body_digest, {first}
    FROM deliveries
    WHERE request_id {contents}
    UNION ALL
    SELECT 'success', position, chain_id, stage, attempt, issued_at, signed_id, body_digest, {first}
    FROM deliveries
    WHERE chain_id {chains} AND {has_content} AND says = 'succeeded' AND fate = 'taken'
    UNION ALL
    SELECT 'queued', 0, chain_id, stage, 0, 0, '', '', '', 0, '', '', NULL, NULL, NULL, NULL
    FROM deliveries
    WHERE {lines}
""",
        contents=contents,
        chains=chains,
        lines=_define(lines),
    )


LOOK: Final = _look(
    contents="{among_request_ids}",
    chains="{among_texts}",
    lines="chain_id {among_texts} AND {has_content} AND coalesce(due_at, -1) >= 0 GROUP BY chain_id, stage",
)
"""What is known about some contents and chains: the first deliveries with the contents, by request id; the successes of
the chains that Temporal took, which an index of their own finds (`ix_deliveries_succeeded`); and the stages with a
queued delivery, as in `QUEUED_STAGE`.

A single query, because all of it has to be of the same moment. Example: another process keeps the same content, and
deletes it, because its run has ended and the refusal is over the budget of records. If the contents were read before,
and the queue in between, the content would be new, in a stage that seems to have a queue: it would be answered 202
instead of refused alike.
"""

LOOK_ONE: Final = _look(
    contents="IN (:request_id, :earlier_id)",
    chains="= :chain_id",
    lines="""position = (
        SELECT position FROM deliveries
        WHERE chain_id = :chain_id AND stage = :stage AND {has_content} AND coalesce(due_at, -1) >= 0 LIMIT 1
    )""",
)
"""`LOOK` for a single content and its stage. However many are queued there, one is read.

A kept plan for a list would count with ten contents, and so PostgreSQL plans each list. For a single content it keeps
the plan, except where the chains that it knows have many deliveries each.
"""

CALLBACKS: Final = "SELECT id, callback, packed FROM deliveries WHERE id {among_texts}"
"""The kept callbacks of some deliveries, as JSON or packed."""

# --- new deliveries, and repeats of their content

INSERT: Final = _define(
    """
    INSERT INTO deliveries ({inserted_columns}) VALUES ({inserted_values}) ON CONFLICT DO NOTHING {inserted}
"""
)
"""Insert a delivery, unless its id or request id exists: another process may have been faster."""

PROMISE: Final = _define("UPDATE deliveries SET promised = 1 WHERE id = :id AND {is_queued}")
"""Record that a repeat of a queued delivery's content is answered 2xx. `CONCLUDE` then records no refusal."""

COMPLETE: Final = "UPDATE deliveries SET callback = :callback WHERE id = :id AND callback IS NULL"
"""Add the callback to a delivery that was kept without it."""

REQUEUE: Final = """
    UPDATE deliveries
    SET due_at = :at, fate_at = :at, tries = 0, fate = CASE WHEN fate = 'refused' THEN 'pending' ELSE fate END
    WHERE id = :id AND due_at IS NULL
"""
"""Queue a delivery again. A taken delivery keeps its fate, so that it still counts as the stage's success."""

GIVE_UP: Final = "UPDATE deliveries SET request_id = NULL WHERE id = :id AND due_at IS NULL"
"""Let a content count as new: no delivery has its request id any more. A delivery that an operator has just released
keeps it."""

PROMISE_CONTENT: Final = _define("UPDATE deliveries SET promised = 1 WHERE request_id = :request_id AND {is_queued}")
"""Like `PROMISE`, for the queued delivery that holds a content."""

GIVE_UP_REFUSAL: Final = """
    UPDATE deliveries SET request_id = NULL
    WHERE request_id = :request_id AND verdict IN ('gone', 'unknown') AND fate = 'refused'
"""
"""Like `GIVE_UP`, for a refused content that Temporal has taken after all; see `First.told`.

A delivery that an operator has released keeps its verdict, and needs its request id: without it, its signal would be
another one.
"""

ADOPT: Final = """
    UPDATE deliveries SET request_id = :request_id, verdict = 'accepted', status = :status
    WHERE id = :id AND request_id IS NULL AND verdict IN ('conflict', 'gone', 'unknown')
        AND NOT EXISTS (SELECT 1 FROM deliveries AS first WHERE first.request_id = :request_id)
"""
"""Let a delivery that was judged as a conflict or as refused hold its content: its partner was answered otherwise."""

ADOPT_AGAIN: Final = """
    UPDATE deliveries
    SET verdict = 'duplicate', status = :status,
        duplicate_of = (SELECT first.id FROM deliveries AS first WHERE first.request_id = :request_id)
    WHERE id = :id AND request_id IS NULL AND verdict IN ('conflict', 'gone', 'unknown')
        AND EXISTS (SELECT 1 FROM deliveries AS first WHERE first.request_id = :request_id)
"""
"""Record that such a delivery repeats a content that another one holds: `ADOPT` has left it as it was."""

ANSWER: Final = "UPDATE deliveries SET status = :status WHERE id = :id"
"""Record the HTTP status of a delivery's answer."""

DESCRIBE: Final = """
    UPDATE deliveries SET pipeline = :pipeline, definition = :definition WHERE id = :id AND pipeline = ''
"""
"""Record the pipeline that a delivery is for, unless it was recorded when the delivery was kept."""

# --- deliveries that wait for their call

MAY_MATCH: Final = "SELECT {may_match} AS may"
"""Whether no other receiver is matching. If so, none begins before the end of the transaction.

Otherwise a receiver could match the first event of a stage, while another receiver matches the second event and commits
it earlier: the second event would be sent first."""

WAIT_TO_MATCH: Final = "SELECT {wait_to_match} AS may"
"""Like `MAY_MATCH`, after waiting for the receiver that is matching."""


def _matchable(*, of: str, lock: str) -> str:
    return _define(
        """
    SELECT deliveries.id, deliveries.callback, deliveries.signed_id, deliveries.part, deliveries.reference,
        calls.workflow_id, calls.chain_id, calls.stage, calls.attempt, calls.issued_at, calls.expires_at, calls.partner
    FROM deliveries JOIN calls ON calls.partner = deliveries.partner AND calls.reference = deliveries.reference
    WHERE deliveries.verdict = 'unmatched' AND {of} AND NOT EXISTS (
        SELECT 1 FROM calls AS later
        WHERE later.partner = calls.partner AND later.reference = calls.reference
            AND (later.called_at, later.position) > (calls.called_at, calls.position)
    )
    ORDER BY deliveries.position LIMIT :most {locked}
""",
        of=of,
        locked=lock,
    )


MATCHABLE: Final = _matchable(of="deliveries.reference <> ''", lock="{skip_locked}")
"""Unmatched deliveries whose call is known by now, in order; of several calls with one reference, with the latest."""

MATCHABLE_OF: Final = _matchable(
    of="deliveries.partner = :partner AND deliveries.reference {among_texts}", lock="{lock_deliveries}"
)
"""Like `MATCHABLE`, for some references of a partner."""

IS_UNMATCHED: Final = """
    SELECT 1 FROM deliveries WHERE verdict = 'unmatched' AND partner = :partner AND reference {among_texts} LIMIT 1
"""
"""Whether a delivery waits for the call of one of these references."""

MATCH: Final = """
    UPDATE deliveries
    SET verdict = 'accepted', fate = 'pending', fate_at = :at, due_at = :at, request_id = :request_id,
        callback = :callback, workflow_id = :workflow_id, chain_id = :chain_id, stage = :stage, attempt = :attempt,
        issued_at = :issued_at, expires_at = :expires_at
    WHERE id = :id AND verdict = 'unmatched'
        AND NOT EXISTS (SELECT 1 FROM deliveries AS first WHERE first.request_id = :request_id)
"""
"""Queue an unmatched delivery for the stage of its call, unless its content is kept already."""

MATCH_AGAIN: Final = """
    UPDATE deliveries
    SET verdict = 'duplicate', callback = NULL, workflow_id = :workflow_id, chain_id = :chain_id, stage = :stage,
        attempt = :attempt, issued_at = :issued_at, expires_at = :expires_at,
        duplicate_of = (SELECT first.id FROM deliveries AS first WHERE first.request_id = :request_id)
    WHERE id = :id AND verdict = 'unmatched'
"""
"""Record that an unmatched delivery repeats a content that is kept already: `MATCH` has left it as it was."""

# --- the queue

CLAIM: Final = _define(
    """
    UPDATE deliveries SET due_at = :until
    WHERE position IN (
        SELECT position FROM deliveries
        WHERE due_at BETWEEN :since AND :before
            AND NOT EXISTS (
                SELECT 1 FROM deliveries AS earlier
                WHERE coalesce(earlier.due_at, -1) >= 0 AND earlier.chain_id = deliveries.chain_id
                    AND earlier.stage = deliveries.stage AND earlier.position < deliveries.position
                    AND NOT (
                        deliveries.says IN ('succeeded', 'failed') AND earlier.says NOT IN ('succeeded', 'failed')
                        AND earlier.tries = 0 AND earlier.due_at > :before
                        AND earlier.due_at > earlier.received_at + {put_off}
                    )
            )
        ORDER BY due_at, position LIMIT :most {skip_locked}
    )
    RETURNING {queued}
""",
    put_off=str(HOUR / 2),
)
"""Lease deliveries whose `due_at` is between two moments, in its order; of each stage, only the oldest queued.

A result does not wait for progress that is put off by an hour, because it is over its callback URL's budget, until the
progress is due. put_off: half an hour; no delivery that was just received is leased so far ahead.

coalesce(...): only the index by stage has this condition (`ix_deliveries_line`). In quiet times PostgreSQL's statistics
say that the queue is empty. With `due_at IS NOT NULL` it would then read the whole queue for each row of a backlog.
"""

CLAIM_NEWEST: Final = CLAIM.replace("ORDER BY due_at, position", "ORDER BY due_at DESC, position DESC")
"""Like `CLAIM`, beginning with what fell due last."""

CLAIM_NEXT: Final = _define(
    """
    UPDATE deliveries SET due_at = :until
    WHERE position IN (
        SELECT position FROM deliveries
        WHERE due_at BETWEEN :since AND :before AND position = (
            SELECT position FROM deliveries AS line
            WHERE chain_id = :chain_id AND stage = :stage AND coalesce(due_at, -1) >= 0
            ORDER BY position LIMIT 1
        ) {skip_locked}
    )
    RETURNING {queued}
"""
)
"""Like `CLAIM`, for the oldest queued delivery of one stage. However many wait behind it, none of them is read."""

CONCLUDE: Final = _define(
    """
    UPDATE deliveries
    SET fate = CASE WHEN :told = 1 AND promised IS NOT NULL THEN :if_promised ELSE :fate END,
        fate_reason = :reason,
        fate_at = CASE WHEN :over = 1 THEN :at ELSE fate_at END,
        tries = :tries,
        due_at = :due_at,
        verdict = CASE WHEN :told = 1 AND promised IS NULL THEN :verdict ELSE verdict END,
        status = CASE WHEN :told = 1 AND promised IS NULL THEN :status ELSE status END,
        body = CASE WHEN :told = 1 AND promised IS NULL AND body_size > :longest THEN NULL ELSE body END
    WHERE id = :id AND (:final = 1 OR {is_queued})
    {has_next}
"""
)
"""Record the result of a try. If the row is no longer queued, only a final fate counts.

Numbers in place of booleans: told: the partner is told a refusal, unless a repeat of the content was promised a 2xx.
over: there is no next try. final: the fate is taken or refused.
longest: bytes of the longest body that a refused delivery keeps.
"""

SIZES: Final = _define(
    """
    SELECT id, partner,
        CASE WHEN body_size > :longest THEN 0 ELSE coalesce(length(body), 0) END + coalesce(length(packed), 0)
            + {length_of_texts} AS size
    FROM deliveries WHERE id {among_texts}
"""
)
"""Sizes of some deliveries once they are refused, without `ROW_OVERHEAD`. `CONCLUDE` removes a body over `longest`."""

DROP: Final = "DELETE FROM deliveries WHERE id = :id AND promised IS NULL"
"""Delete a delivery, unless a repeat of its content was answered 2xx."""

DEPTH: Final = _define(
    """
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
)
"""Count pending and parked deliveries, and find the oldest pending, reading only the heads of their indexes.

A delivery imported as parked has no callback: it waits for an operator of another store, and is not counted.
"""

# --- retention

PRUNABLE: Final = """
    SELECT position FROM deliveries
    WHERE received_at < :before AND due_at IS NULL AND NOT (fate = 'parked' AND callback IS NOT NULL)
        AND NOT EXISTS (
            SELECT 1 FROM deliveries AS held
            WHERE held.part_of = deliveries.id AND held.part > 0
                AND (held.due_at IS NOT NULL OR held.fate = 'parked')
        )
    ORDER BY received_at LIMIT :most
"""
"""Old deliveries, at most `most`, but not those that are pending or parked, nor those with such a part: the part is
read again in the body of its request.

ORDER BY: by the index. Once most rows are old, PostgreSQL would read the table from its beginning for each transaction,
through all that is deleted already."""

PRUNABLE_REFUSED: Final = _define(
    """
    SELECT position FROM deliveries
    WHERE received_at < :before AND due_at IS NULL AND NOT (fate = 'parked' AND callback IS NOT NULL)
        AND {is_refused_request} AND verdict <> 'unmatched'
    ORDER BY received_at LIMIT :most
"""
)
"""Like `PRUNABLE`, but only refused requests. An index of its own finds them among all other deliveries. That index
holds unmatched deliveries too, which are kept as long as accepted ones."""


def _delete(prunable: str) -> str:
    return _define("DELETE FROM deliveries WHERE position IN ({prunable}) AND due_at IS NULL", prunable=prunable)


PRUNE: Final = _delete(PRUNABLE)
"""Delete what is `PRUNABLE`.

The last condition: PostgreSQL looks again at a row that it has waited for, and another process may have queued it
meanwhile."""

PRUNE_REFUSED: Final = _delete(PRUNABLE_REFUSED)
"""Delete what is `PRUNABLE_REFUSED`."""

# --- how they are planned

PREPARED: Final = frozenset(
    {FIRST, QUEUED_STAGE, LOOK, LOOK_ONE, INSERT, PROMISE, ANSWER, CONCLUDE, FIND_ORIGIN, FIND_ORIGINS}
)
"""Queries that PostgreSQL reads once per connection, and whose plans it may keep; see `Database.connect`. Without this,
two thirds of its CPU for a callback are reading and planning.

Only queries by an id or a chain, whose conditions lead to a single index, whatever PostgreSQL knows of the table and
however it grows. All others are planned each time.
"""
