"""How many runs wait for each partner, as Temporal is asked for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from temporalio.client import Client

from activities.waiting_counts import WaitingCounts, count_waiting


async def test_each_count_is_of_one_partner() -> None:
    asked: list[str] = []

    async def count_workflows(query: str) -> Any:
        asked.append(query)
        return SimpleNamespace(count=len(asked))

    client = cast(Client, SimpleNamespace(namespace="default", count_workflows=count_workflows))
    found = await count_waiting(client, ["bank", "cards"])
    assert found == {"bank": WaitingCounts(1, 2, 3), "cards": WaitingCounts(4, 5, 6)}
    assert [("bank" in query, "cards" in query) for query in asked] == [(True, False)] * 3 + [(False, True)] * 3
