"""What one callback URL may bring, by a clock of the test's own."""

from __future__ import annotations

from activities.callback_urls import Claims
from receiver.budget import (
    BURST,
    BURST_SECONDS,
    MOST_CALLBACKS_PER_URL,
    MOST_URLS,
    RESERVE,
    SECONDS_PER_CALLBACK,
    RateBudget,
    SignalBudget,
)
from tests.parts.clocks import Clock

CLAIMS = Claims("run", "chain", 1, 1, "bank", 1, 2)


def test_a_burst_is_allowed_and_then_one_at_a_time() -> None:
    clock = Clock()
    budget = SignalBudget(clock)
    waits = [budget.seconds_to_wait(CLAIMS, str(n), settles=True) for n in range(BURST + 1)]
    assert waits == [0.0] * BURST + [SECONDS_PER_CALLBACK]
    clock.now += SECONDS_PER_CALLBACK
    assert budget.seconds_to_wait(CLAIMS, "next", settles=True) == 0.0
    assert budget.seconds_to_wait(CLAIMS, "too soon", settles=True) > 0


def test_the_same_content_again_costs_nothing() -> None:
    clock = Clock()
    budget = SignalBudget(clock)
    for n in range(BURST + 50):
        clock.now += SECONDS_PER_CALLBACK
        assert budget.seconds_to_wait(CLAIMS, str(n), settles=True) == 0.0
        assert budget.seconds_to_wait(CLAIMS, str(n), settles=True) == 0.0


def test_progress_leaves_a_reserve_for_the_answer() -> None:
    clock = Clock()
    budget = SignalBudget(clock)
    waits = [budget.seconds_to_wait(CLAIMS, str(n), settles=False) for n in range(BURST)]
    assert waits.count(0.0) == BURST - RESERVE
    assert budget.seconds_to_wait(CLAIMS, "the answer", settles=True) == 0.0


def test_one_url_brings_a_bounded_number_altogether() -> None:
    clock = Clock()
    budget = SignalBudget(clock)
    taken = 0
    for n in range(2 * MOST_CALLBACKS_PER_URL):
        clock.now += SECONDS_PER_CALLBACK
        taken += budget.seconds_to_wait(CLAIMS, str(n), settles=False) == 0.0
    assert taken == MOST_CALLBACKS_PER_URL - RESERVE
    assert budget.seconds_to_wait(CLAIMS, "the answer", settles=True) == 0.0


def test_what_could_not_be_forwarded_is_given_back() -> None:
    budget = SignalBudget(Clock())
    for n in range(10 * BURST):
        assert budget.seconds_to_wait(CLAIMS, str(n), settles=False) == 0.0
        budget.refund(CLAIMS, str(n))


def test_urls_do_not_share_an_account_and_old_ones_are_forgotten() -> None:
    budget = SignalBudget(Clock())
    for n in range(MOST_URLS + 10):
        claims = Claims("run", f"chain-{n}", 1, 1, "bank", 1, 2)
        assert budget.seconds_to_wait(claims, "x", settles=True) == 0.0
    assert len(budget._accounts) == MOST_URLS


def test_a_rate_allows_a_burst_and_then_its_average() -> None:
    clock = Clock()
    budget = RateBudget(clock)
    waits = [budget.seconds_to_wait("bank", 2.0) for _ in range(int(2 * BURST_SECONDS) + 2)]
    assert waits == [0.0] * int(2 * BURST_SECONDS) + [0.5, 0.5]
    assert budget.seconds_to_wait("cards", 2.0) == 0.0
    clock.now += 1.0
    assert [budget.seconds_to_wait("bank", 2.0) for _ in range(3)] == [0.0, 0.0, 0.5]


def test_a_rate_of_many_addresses_forgets_old_ones() -> None:
    budget = RateBudget(Clock())
    for n in range(MOST_URLS + 10):
        assert budget.seconds_to_wait(f"10.0.0.{n}", 1.0) == 0.0
    assert len(budget._spent) == MOST_URLS


def test_a_slow_rate_lets_one_pass_at_a_time() -> None:
    clock = Clock()
    budget = RateBudget(clock)
    assert [budget.seconds_to_wait("bank", 0.01) for _ in range(2)] == [0.0, 100.0]
    clock.now += 100.0
    assert budget.seconds_to_wait("bank", 0.01) == 0.0
