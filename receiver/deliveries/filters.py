"""Filters: which deliveries an operator means, as a condition of SQL and for a delivery at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from activities.store.schema import DELIVERIES
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.rows import to_row

CHANGING: Final = frozenset({Fate.PENDING, Fate.PARKED, Fate.REFUSED})
"""Fates that may still change: by themselves, or when an operator releases the delivery."""

UNMATCHED: Final = "unmatched"

UNDECIDED: Final = frozenset({UNMATCHED, "broken"})
"""Verdicts that may change while the delivery has no fate: its call becomes known, or its body is read again."""

MAY_CHANGE: Final = sa.or_(
    DELIVERIES.c.fate.in_([fate.value for fate in CHANGING]),
    sa.and_(DELIVERIES.c.fate == Fate.NONE.value, DELIVERIES.c.verdict.in_(UNDECIDED)),
)
"""`may_change` as an SQL condition."""

FIRST_REFUSAL: Final = 400
"""The lowest status by which a request is refused."""


@dataclass(frozen=True)
class Filters:
    """Selects deliveries; "", 0, () and None match any.

    since, until: unix seconds, `until` excluded. verdicts, fate: names. refused: only what was answered 4xx or 5xx.
    matched: only deliveries that do not wait for their call.
    """

    verdicts: tuple[str, ...] = ()
    partner: str = ""
    pipeline: str = ""
    workflow: str = ""
    stage: int = 0
    fate: str = ""
    since: float | None = None
    until: float = math.inf
    refused: bool = False
    matched: bool = False

    def matches(self, delivery: Delivery) -> bool:
        """Whether the filters select this delivery, which need not be in the store."""
        row = to_row(delivery)
        in_time = (self.since or 0.0) <= delivery.received_at < self.until
        of_verdict = not self.verdicts or delivery.verdict in self.verdicts
        of_status = not self.refused or delivery.status >= FIRST_REFUSAL
        is_matched = not self.matched or delivery.verdict != UNMATCHED
        of_row = all(row[name] == wanted for name, wanted in self._wanted())
        return in_time and of_verdict and of_status and is_matched and of_row

    def may_match(self, delivery: Delivery) -> bool:
        """Whether the filters select this delivery, or may select it once its verdict, pipeline or fate has changed.

        Its run and stage may change too if it has none yet.
        """
        known = replace(self, verdicts=(), refused=False, pipeline="", fate="", matched=False)
        if not delivery.workflow_id:
            known = replace(known, workflow="", stage=0)
        return self.matches(delivery) or (may_change(delivery) and known.matches(delivery))

    def where(self) -> sa.ColumnElement[bool]:
        """The filters as an SQL condition."""
        conditions: list[sa.ColumnElement[bool]] = [DELIVERIES.c[name] == wanted for name, wanted in self._wanted()]
        if self.verdicts:
            conditions.append(DELIVERIES.c.verdict.in_(self.verdicts))
        if self.refused:
            conditions.append(DELIVERIES.c.status >= FIRST_REFUSAL)
        if self.matched:
            conditions.append(DELIVERIES.c.verdict != UNMATCHED)
        if self.until != math.inf:
            conditions.append(DELIVERIES.c.received_at < self.until)
        return sa.and_(DELIVERIES.c.received_at >= (self.since or 0.0), *conditions)

    def _wanted(self) -> list[tuple[str, str | int]]:
        """Pairs of column name and required value."""
        fixed: dict[str, str | int] = {
            "partner": self.partner,
            "pipeline": self.pipeline,
            "workflow_id": self.workflow,
            "stage": self.stage,
            "fate": self.fate,
        }
        return [(name, wanted) for name, wanted in fixed.items() if wanted]


def may_change(delivery: Delivery) -> bool:
    """Whether the delivery's verdict or fate may still change."""
    return delivery.fate in CHANGING or (delivery.fate is Fate.NONE and delivery.verdict in UNDECIDED)


ANY: Final = Filters()
