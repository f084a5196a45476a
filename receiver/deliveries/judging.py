"""Judging: decides how a delivery is kept, by what the store holds already.

The same content always gets the same answer, in every process and however often it arrives. The first delivery with a
content holds its state. Each change of it is a single statement in the store, so that two processes cannot decide
differently:

    pending  --Temporal takes it-->                          taken: every repeat is 202
    pending  --a repeat is answered 202 (`promise`)-->       pending, promised
    pending  --the run has ended, not promised (`tell`)-->   told: 410; a repeat is 410 too for `refusal_lasts` seconds,
                                                             then the content is new: a reset may have reopened the run
    pending  --the run has ended, promised-->                refused or parked, and 202
    pending  --the run has ended after the 202-->            refused or parked, and 202

Example: receivers A and B get the same content at the same time, and its run has ended. A inserts the row and signals;
B finds the row pending. If B's promise commits first, A's `tell` finds it, and A answers 202 like B. If A's `tell`
commits first, B's promise finds a told row, and B answers 410 like A. Neither answers before its own statement is
committed. If the store goes away in between, the answer is 503, which contradicts neither.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from sqlalchemy.engine.interfaces import DBAPICursor

from receiver.budget import RecordBudget, UrlBudget
from receiver.deliveries.content import request_id, said_in
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Delivery, Fate
from receiver.deliveries.matching import KnownOrigin
from receiver.deliveries.queue import Queued
from receiver.deliveries.rows import ROW_OVERHEAD, stored_size, to_row
from receiver.deliveries.statements import First, Lookup, Statements, Success
from receiver.timing import Timing

MOST_COMPARED: Final = 20
"""Callbacks of a stage, each 32 KiB at most, that are read and compared with a new callback."""

SETTLING: Final = {"succeeded", "failed"}
SENT_AGAIN: Final = {Fate.TAKEN, Fate.REFUSED}
"""Fates after which a repeated content is signalled again, because the run may have been reset. By the request id,
Temporal recognizes a signal that it has taken."""


class How(Enum):
    """How a delivery was kept.

    LEASED: new, and sent by the process that kept it.
    QUEUED: new, and claimed later by any process.
    AGAIN: a repeat of a content that is still pending.
    KNOWN: a repeat of a content whose fate is known.
    TOLD: a repeat of a content that was refused a moment ago.
    CONFLICT: the stage has already succeeded with a different content.
    """

    LEASED = "leased"
    QUEUED = "queued"
    AGAIN = "again"
    KNOWN = "known"
    TOLD = "told"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class Kept:
    """How a delivery was kept.

    first: the earlier delivery with the same content, if there is one. origin: what its call is of, if that is known.
    """

    how: How
    first: First | None = None
    origin: KnownOrigin | None = None

    @property
    def first_id(self) -> str:
        """The id of the earlier delivery, or ""."""
        return self.first.id if self.first else ""


@dataclass(eq=False)
class Keep:
    """A delivery to be judged.

    lease: whether the caller can send it at once. kept: the last judgement; QUEUED before the first.
    later: seconds until it may be sent, because its callback URL is over its budget.
    """

    delivery: Delivery
    queued: Queued
    lease: bool
    kept: Kept = Kept(How.QUEUED)
    later: float = 0.0


class Judge:
    """Judges deliveries in the writer's thread."""

    def __init__(self, statements: Statements, budget: RecordBudget, timing: Timing) -> None:
        self._statements = statements
        self._budget = budget
        self._timing = timing
        self._urls = UrlBudget()

    def judge(self, cursor: DBAPICursor, keeps: Sequence[Keep]) -> Iterator[dict[str, Any]]:
        """Set how each delivery is kept, by the store and by the deliveries before it. Yields the rows to insert.

        Example: two deliveries of one batch bring the same new content. The first becomes LEASED or QUEUED, and the
        second becomes AGAIN, as a duplicate of the first.
        """
        now = time.time()
        lookup = self._statements.look(cursor, [keep.queued for keep in keeps])
        for keep in keeps:
            first = lookup.firsts.get(keep.queued.request_id) or self._find_earlier(cursor, lookup, keep)
            if first and first.id == keep.delivery.id:
                continue  # The row was committed, but the reply was lost: the first judgement holds.
            if first and self._is_refusal_over(first, now):
                self._statements.give_up(cursor, first.id)
                first = None
            successes = self._successes(lookup, keep)
            first = first or self._find_same(cursor, successes, keep)
            if first is None and not successes:
                keep.kept, row = self._keep_new(lookup, keep, now)
                yield row
                continue
            keep.kept = self._repeated(cursor, lookup, keep, first, now) if first else Kept(How.CONFLICT)
            if (unsent := self._unsent_row(keep)) is not None:
                yield unsent

    def _is_refusal_over(self, first: First, now: float) -> bool:
        """Whether the content was refused so long ago that it counts as new."""
        if not first.told or first.concluded_at is None:
            return False
        return now - first.concluded_at >= self._timing.refusal_lasts

    def _find_earlier(self, cursor: DBAPICursor, lookup: Lookup, keep: Keep) -> First | None:
        """The delivery of the same bytes that an earlier version of the receiver kept, if any.

        None if that delivery is parked and the partner's file now reads something else in the bytes: the content counts
        as new, and the partner's retry settles the stage.
        """
        first = lookup.firsts.get(keep.queued.earlier_id)
        if first is None or first.fate is not Fate.PARKED:
            return first
        said = self._statements.said(cursor, [first.id]).get(first.id)
        return first if said == said_in(keep.queued.callback) else None

    def _successes(self, lookup: Lookup, keep: Keep) -> list[Success]:
        """The stage's successes that a settling delivery repeats or contradicts; of its own call or a later call."""
        if keep.delivery.says not in SETTLING:
            return []
        issued_at = keep.queued.claims.issued_at
        return [success for success in lookup.successes.get(keep.queued.stage, []) if issued_at <= success.issued_at]

    def _find_same(self, cursor: DBAPICursor, successes: Sequence[Success], keep: Keep) -> First | None:
        """The success with the same content, under another signed id or from another attempt.

        The bytes are compared first, then the request id that this content would have had in the earlier delivery. For
        rows of an earlier version, whose request ids differ, the kept callbacks are compared last.

        Example: attempt 2 succeeded with document 7, and a late callback of attempt 1 reports document 7: a duplicate.
        If it reports document 8, there is no such success, and the delivery is a conflict.
        """
        if not successes:
            return None
        said = said_in(keep.queued.callback)
        for success in successes:
            then = replace(keep.queued.claims, attempt=success.attempt, issued_at=success.issued_at)
            same_id = success.first.request_id == request_id(then, said, success.signed_id)
            same_body = keep.delivery.body_size > 0 and success.body_digest == keep.delivery.body_digest
            if same_body or same_id:
                return success.first
        by_id = {success.first.id: success.first for success in successes[:MOST_COMPARED]}
        kept = self._statements.said(cursor, list(by_id)) if said else {}
        return next((by_id[id_] for id_, says in kept.items() if says == said), None)

    def _keep_new(self, lookup: Lookup, keep: Keep, now: float) -> tuple[Kept, dict[str, Any]]:
        """Queue the delivery. If its stage has queued deliveries, it is not leased, but waits for its turn."""
        delivery, queued = keep.delivery, keep.queued
        leased = keep.lease and queued.stage not in lookup.queued
        row = to_row(delivery)
        row |= {"fate": Fate.PENDING.value, "request_id": queued.request_id, "callback": queued.callback}
        row["due_at"] = now + self._timing.lease if leased else now + keep.later
        settles = delivery.says in SETTLING
        if not self._urls.allows(queued.claims, stored_size(row), settles=settles):
            row |= {"headers": "[]", "body": None}
        lookup.queued.add(queued.stage)
        lookup.firsts[queued.request_id] = First(
            delivery.id, delivery.status, "accepted", Fate.PENDING, request_id=queued.request_id
        )
        return Kept(How.LEASED if leased else How.QUEUED), row

    def _repeated(self, cursor: DBAPICursor, lookup: Lookup, keep: Keep, first: First, now: float) -> Kept:
        """How a repeated content is answered. Queues it again, if its last signal is over `resend_pause` old."""
        if first.told:
            return Kept(How.TOLD, first)
        if first.fate is Fate.PENDING:
            return Kept(How.AGAIN, first)
        if first.bare:
            self._statements.complete(cursor, first.id, keep.queued.callback)
        pause = self._timing.resend_pause
        if first.fate in SENT_AGAIN and first.concluded_at is not None and first.concluded_at < now - pause:
            self._statements.requeue(cursor, [first.id], now)
            lookup.queued.add(keep.queued.stage)
        return Kept(How.KNOWN, first)

    def _unsent_row(self, keep: Keep) -> dict[str, Any] | None:
        """The row of a duplicate or conflict, which is not sent; None if the budget has no room for it.

        The size is estimated first, so that a flood of duplicates does not cost the making of rows.
        """
        delivery, answer = keep.delivery, _answer(keep.kept)
        is_whole = delivery.body_size <= MAX_REFUSED_BODY_BYTES
        at_least = ROW_OVERHEAD + (delivery.body_size if is_whole else 0)
        if not self._budget.may_allow(answer["verdict"], delivery.partner, at_least):
            return None
        row = to_row(delivery) | answer
        if not is_whole:
            row["body"] = None
        return row if self._budget.allows(row["verdict"], delivery.partner, stored_size(row)) else None


def _answer(kept: Kept) -> dict[str, Any]:
    """The answer to a duplicate or conflict, as columns of its row."""
    first = kept.first
    if first is None:
        return {"verdict": "conflict", "status": 409}
    answer: dict[str, Any] = {"verdict": "duplicate", "duplicate_of": first.id}
    if kept.how is How.TOLD:
        return answer | {"verdict": first.verdict, "status": first.status}
    return answer | ({"status": first.status} if first.status < 300 else {})
