"""Keeping: commits deliveries and the events of requests, as they were judged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.engine.interfaces import DBAPICursor

from receiver.budget import RecordBudget
from receiver.deliveries.batch import Batch
from receiver.deliveries.delivery import Fate
from receiver.deliveries.judging import Judge, Keep, Kept
from receiver.deliveries.memory import TAKEN_REASON, TakenMemory
from receiver.deliveries.queue import Conclusion
from receiver.deliveries.rows import stored_size, to_row
from receiver.deliveries.statements import Statements


class Keeping:
    """The inbox's work on new deliveries, in the writer's thread.

    taken: the deliveries that Temporal took while the store was away.
    """

    def __init__(self, statements: Statements, judge: Judge, taken: TakenMemory, budget: RecordBudget) -> None:
        self._statements = statements
        self._judge = judge
        self._taken = taken
        self._budget = budget

    def keep(self, cursor: DBAPICursor, keeps: Sequence[Keep]) -> dict[Keep, Kept]:
        """Judge and insert. Leaves out those to judge again, because another process inserted their content first.

        Example: ten requests bring the same content, and another process inserts it between our read and our write. The
        first of the ten is not inserted, and the other nine were judged as its duplicates: all ten are judged again,
        against the row of the other process.
        """
        # Before judging: the deliveries of these stages that Temporal took must count as kept.
        if taken := self._taken.of_stages({keep.queued.stage for keep in keeps}):
            self.insert_taken(cursor, taken)
        rows = list(self._judge.judge(cursor, keeps))
        # By stage in every process, or two transactions with the same contents in other orders would block each other.
        # Within a stage the order stays.
        new = sorted((row for row in rows if "request_id" in row), key=lambda row: (row["chain_id"], row["stage"]))
        lost = {row["id"] for row in new} - (self._statements.insert(cursor, new) if new else set())
        if rest := [row for row in rows if "request_id" not in row and row["duplicate_of"] not in lost]:
            self._statements.insert(cursor, rest)
        return {keep: keep.kept for keep in keeps if not lost & {keep.delivery.id, keep.kept.first_id}}

    def keep_batches(self, cursor: DBAPICursor, batches: Sequence[Batch]) -> dict[Batch, None]:
        """Keep the events of requests. Leaves out those to judge again; see `keep`."""
        keeps = [keep for batch in batches for keep in batch.keeps]
        kept = self.keep(cursor, keeps) if keeps else {}
        done = [batch for batch in batches if all(keep in kept for keep in batch.keeps)]
        rows = [row for batch in done for row in self._whole_row(batch)]
        rows += [row for batch in done for row in batch.rows]
        if rows:
            self._statements.insert(cursor, rows)
        return dict.fromkeys(done)

    def _whole_row(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """The row of the request itself. A request that brought nothing new is recorded within the budget."""
        row = to_row(batch.whole)
        if batch.verdict == "accepted":
            yield row
            return
        row |= {"verdict": batch.verdict, "body": None} | ({"status": 409} if batch.verdict == "conflict" else {})
        if self._budget.allows(batch.verdict, batch.whole.partner, stored_size(row)):
            yield row

    def insert_taken(self, cursor: DBAPICursor, rows: Sequence[dict[str, Any]]) -> None:
        """Insert deliveries that Temporal took. If the store did commit one, its pending row becomes taken."""
        self._statements.insert(cursor, rows)
        taken = [Conclusion(row["id"], Fate.TAKEN, TAKEN_REASON) for row in rows]
        self._statements.conclude(cursor, taken, time.time())
