"""How many runs wait for each partner, as Temporal is asked for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from temporalio.client import Client

from activities.waiting_counts import WaitingCounts, count_waiting

COUNTS = {
    (True, False, False): 1,
    (True, True, False): 2,
    (True, False, True): 3,
    (False, False, False): 4,
    (False, True, False): 5,
    (False, False, True): 6,
}
"""By whether a query is about the bank, about a deadline, and about a person."""


async def test_each_count_is_of_one_partner() -> None:
    asked: list[str] = []

    async def count_workflows(query: str) -> Any:
        asked.append(query)
        which = ("bank" in query, "StagehookDeadline" in query, "= 'needs_person'" in query)
        return SimpleNamespace(count=COUNTS[which])

    client = cast(Client, SimpleNamespace(namespace="default", count_workflows=count_workflows))
    found = await count_waiting(client, ["bank", "cards"])
    assert found == {"bank": WaitingCounts(1, 2, 3), "cards": WaitingCounts(4, 5, 6)}
    assert sorted(("bank" in query, "cards" in query) for query in asked) == [(False, True)] * 3 + [(True, False)] * 3
