"""Keeping: commits deliveries and the events of requests, as they were judged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.engine.interfaces import DBAPICursor

from receiver.budget import RecordBudget
from receiver.deliveries.batch import Batch
from receiver.deliveries.delivery import Fate
from receiver.deliveries.judging import Judge, Keep, Kept
from receiver.deliveries.matching import KnownOrigin, Matching
from receiver.deliveries.memory import TAKEN_REASON, TakenMemory
from receiver.deliveries.queue import Conclusion
from receiver.deliveries.rows import claims_in, pack_row, stored_size, to_row
from receiver.deliveries.statements import Statements


class Keeping:
    """The inbox's work on new deliveries, in the writer's thread.

    taken: the deliveries that Temporal took while the store was away. matching: looks up what calls are of.
    packs: whether the rows of queued deliveries are packed.
    """

    def __init__(
        self,
        statements: Statements,
        judge: Judge,
        matching: Matching,
        taken: TakenMemory,
        budget: RecordBudget,
        *,
        packs: bool = False,
    ) -> None:
        self._statements = statements
        self._matching = matching
        self._judge = judge
        self._taken = taken
        self._budget = budget
        self._packs = packs

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
        origins = self.describe(cursor, rows)
        # By stage in every process, or two transactions with the same contents in other orders would block each other.
        # Within a stage the order stays.
        new = sorted((row for row in rows if "request_id" in row), key=lambda row: (row["chain_id"], row["stage"]))
        if self._packs:
            new = list(map(pack_row, new))
        lost = {row["id"] for row in new} - (self._statements.insert(cursor, new) if new else set())
        if rest := [row for row in rows if "request_id" not in row and row["duplicate_of"] not in lost]:
            self._statements.insert(cursor, rest)
        if lost:
            keeps = [keep for keep in keeps if not lost & {keep.delivery.id, keep.kept.first_id}]
        return {keep: _with_origin(keep, origins) for keep in keeps}

    def describe(self, cursor: DBAPICursor, rows: Sequence[dict[str, Any]]) -> Mapping[str, KnownOrigin]:
        """Put into rows which pipeline they are for, as far as their calls are known. Returns it by delivery id."""
        calls = {row["id"]: claims_in(row).idempotency_key for row in rows if row["workflow_id"]}
        found = self._matching.find_origins(cursor, set(calls.values())) if calls else {}
        if not found:
            return {}
        for row in rows:
            if (origin := found.get(calls.get(row["id"], ""))) and not row["pipeline"]:
                row |= {"pipeline": origin.pipeline, "definition": origin.definition}
        return {id_: found[call_id] for id_, call_id in calls.items() if call_id in found}

    def keep_batches(self, cursor: DBAPICursor, batches: Sequence[Batch]) -> dict[Batch, None]:
        """Keep the events of requests. Leaves out those to judge again; see `keep`."""
        keeps = [keep for batch in batches for keep in batch.keeps]
        kept = self.keep(cursor, keeps) if keeps else {}
        done = [batch for batch in batches if all(keep in kept for keep in batch.keeps)]
        rows = [row for batch in done for row in self._whole_row(batch)]
        rows += [row for batch in done for row in batch.rows]
        if rows:
            self.describe(cursor, rows)
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

    def insert_refused(self, cursor: DBAPICursor, rows: Sequence[dict[str, Any]]) -> None:
        """Insert refused requests."""
        self.describe(cursor, rows)
        self._statements.insert(cursor, rows)

    def insert_taken(self, cursor: DBAPICursor, rows: Sequence[dict[str, Any]]) -> None:
        """Insert deliveries that Temporal took. If the store did commit one, its row becomes taken."""
        rows = sorted(rows, key=lambda row: (row["chain_id"], row["stage"], row["request_id"]))  # see `keep`
        self.describe(cursor, rows)
        self._statements.insert_taken(cursor, rows)
        taken = [Conclusion(row["id"], Fate.TAKEN, TAKEN_REASON) for row in rows]
        self._statements.conclude(cursor, taken, time.time())


def _with_origin(keep: Keep, origins: Mapping[str, KnownOrigin]) -> Kept:
    origin = origins.get(keep.delivery.id)
    return replace(keep.kept, origin=origin) if origin else keep.kept
