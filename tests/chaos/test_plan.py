"""The plan of a chaos run: repeatable, varied, and with a function for each of its faults."""

from __future__ import annotations

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.plan import PAUSES, RECOVERY, STORES, StoreKind, kinds_for, make_plan

stores = pytest.mark.parametrize("store", STORES)


@stores
def test_a_seed_makes_the_same_plan_again(store: StoreKind) -> None:
    assert make_plan(7, 60, store) == make_plan(7, 60, store)
    assert make_plan(7, 60, store) != make_plan(8, 60, store)


@stores
def test_faults_come_every_second_or_two(store: StoreKind) -> None:
    at = [fault.at for fault in make_plan(7, 200, store).faults]
    assert at == sorted(at)
    # A pause is longer only where every place that has a fault to come is busy.
    assert len(at) > 0.7 * 200 / PAUSES[1]


@stores
def test_faults_of_one_place_do_not_overlap(store: StoreKind) -> None:
    free_at: dict[str, float] = {}
    for fault in make_plan(7, 200, store).faults:
        assert fault.at >= free_at.get(fault.kind.place, 0.0) - 0.01
        free_at[fault.kind.place] = fault.at + fault.lasts + RECOVERY


@stores
def test_a_long_plan_has_every_fault_of_its_store(store: StoreKind) -> None:
    assert {fault.kind for fault in make_plan(7, 200, store).faults} == set(kinds_for(store))


def test_every_fault_of_a_plan_has_a_function() -> None:
    assert {kind.name for store in STORES for kind in kinds_for(store)} == set(FAULTS)


@stores
def test_a_plan_has_runs_for_every_habit(store: StoreKind) -> None:
    habits = list(make_plan(7, 60, store).habits.values())
    assert {habit.first_call for habit in habits} == {"ok", "503", "garbage", "hangs"}
    for name in ("progress", "loses", "early", "conflicts", "forges", "retried"):
        assert any(getattr(habit, name) for habit in habits), name
    assert any(habit.copies > 1 for habit in habits)
