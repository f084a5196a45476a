"""Two processes keep batches with the same event at the same moment: the later one is judged again as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy.engine.interfaces import DBAPICursor

from receiver.budget import RecordBudget
from receiver.deliveries.batch import Batch
from receiver.deliveries.judging import How, Judge, Keep, Kept
from receiver.deliveries.keeping import Keeping
from receiver.deliveries.matching import Matching
from receiver.deliveries.memory import TakenMemory
from receiver.deliveries.rows import to_row
from receiver.deliveries.statements import Statements
from tests.parts.deliveries import delivery, queued

CURSOR = cast(DBAPICursor, None)


class Judged:
    """Takes every delivery for a new one."""

    def judge(self, cursor: DBAPICursor, keeps: Sequence[Keep]) -> Iterator[dict[str, Any]]:
        for keep in keeps:
            keep.kept = Kept(How.QUEUED)
            yield to_row(keep.delivery) | {"request_id": keep.queued.request_id}

    def find_origins(self, cursor: DBAPICursor, call_ids: set[str]) -> dict[str, Any]:
        return {}


class Store:
    """A store into which another process has just inserted a content. lost: the id of its delivery here."""

    def __init__(self, lost: str) -> None:
        self._lost = lost
        self.ids: set[str] = set()

    def insert(self, cursor: DBAPICursor, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        inserted = {str(row["id"]) for row in rows} - {self._lost}
        self.ids |= inserted
        return inserted


def batch(*ids: str) -> Batch:
    events = [delivery(f"chain of {id_}", id=id_) for id_ in ids]
    keeps = [Keep(event, queued(event, event.id), lease=False) for event in events]
    return Batch(delivery(id=f"whole of {'-'.join(ids)}", workflow_id=""), keeps, [])


def test_a_batch_with_a_lost_event_is_judged_again_as_a_whole() -> None:
    """Judged again, the event is a duplicate or a conflict, which decides the answer to the whole request."""
    first, other = batch("one", "lost"), batch("two")
    store, judged = Store("lost"), cast(Any, Judged())
    work = Keeping(cast(Statements, store), cast(Judge, judged), cast(Matching, judged), TakenMemory(), RecordBudget())
    assert work.keep_batches(CURSOR, [first, other]) == {other: None}
    assert "whole of two" in store.ids
    assert "whole of one-lost" not in store.ids
