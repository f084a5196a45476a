"""How much of what needs no action is recorded, by a clock of the test's own."""

from __future__ import annotations

from receiver.deliveries.limits import BYTES_PER_MINUTE, LARGEST_KEPT, PER_MINUTE, RecordBudget, kept_size
from tests.receiver.test_budget import Clock


def test_so_many_of_a_kind_are_recorded_in_a_minute() -> None:
    clock = Clock()
    budget = RecordBudget(clock)
    assert [budget.allows("unknown", "", 10) for _ in range(PER_MINUTE + 1)] == [True] * PER_MINUTE + [False]
    assert budget.allows("unproven", "bank", 10), "of another kind"
    clock.now += 60
    assert budget.allows("unknown", "", 10)


def test_long_ones_are_fewer() -> None:
    budget = RecordBudget(Clock())
    assert sum(budget.allows("unknown", "", 30_000) for _ in range(PER_MINUTE)) == BYTES_PER_MINUTE // 30_000
    assert not budget.allows("unknown", "", 30_000)
    assert budget.allows("unknown", "", 10)


def test_a_body_that_is_not_kept_takes_no_room() -> None:
    headers = [("X-Name", "value")]
    assert kept_size(headers, "?a=1", LARGEST_KEPT) == LARGEST_KEPT + 15
    assert kept_size(headers, "?a=1", LARGEST_KEPT + 1) == 15
