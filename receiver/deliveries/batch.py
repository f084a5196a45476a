"""Batch: a request that carries several events, as it is kept: one row for the request, and one for each event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.deliveries.delivery import Delivery
from receiver.deliveries.judging import Keep


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
    def is_new(self) -> bool:
        """Whether it brought anything that was not kept before."""
        return bool(self.rows) or any(keep.kept.first is None for keep in self.keeps)
