"""Batch: a request that carries several events, as it is kept: one row for the request, and one for each event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.deliveries.delivery import Delivery
from receiver.deliveries.judging import How, Keep


@dataclass(eq=False)
class Batch:
    """The events of one request, committed together.

    whole: the request, with its body. keeps: the events whose stage is known. rows: the events that wait for their
    call, or for an operator.
    """

    whole: Delivery
    keeps: Sequence[Keep]
    rows: Sequence[dict[str, Any]] = field(default_factory=tuple)

    @property
    def verdict(self) -> str:
        """How the request is answered, by how its events were kept: accepted, duplicate or conflict.

        It is a conflict only if every event contradicts a success that is known: whatever else it brings is kept.
        """
        if self.rows or any(keep.kept.how in {How.LEASED, How.QUEUED} for keep in self.keeps):
            return "accepted"
        is_conflict = all(keep.kept.how is How.CONFLICT for keep in self.keeps)
        return "conflict" if is_conflict else "duplicate"
