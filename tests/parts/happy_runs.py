"""The happy four-stage run: each partner takes its call, and answers by callback once the run waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHandle

from workflows.contract import ADVANCE_STAGE

GIVEN: Final = {"full_name": "ada lovelace", "date_of_birth": "1815-12-10", "iban": "GB33BUKB20201555555555"}
OUTCOMES: Final[Sequence[Mapping[str, str]]] = (
    {"legal_name": "ADA LOVELACE", "check_id": "check-1"},
    {"account_id": "account-1"},
    {"document_id": "document-1"},
    {"card_id": "card-1"},
)
"""What the partners of the shipped onboarding say, stage by stage."""


async def answer_each_wait(handle: WorkflowHandle[Any, Any]) -> list[HistoryEvent]:
    """Signal a stage's callback as soon as the stage waits for it; return the run's history once it has ended."""
    events, stage = [], 0
    async for event in handle.fetch_history_events(wait_new_event=True):
        events.append(event)
        if event.HasField("timer_started_event_attributes"):
            stage += 1
            await handle.signal(ADVANCE_STAGE, args=[stage, _callback(handle, OUTCOMES[stage - 1])])
    return events


def _callback(handle: WorkflowHandle[Any, Any], data: Mapping[str, str]) -> dict[str, Any]:
    answer = {"status": "succeeded", "data": data}
    return {"answer": answer, "chain_id": handle.first_execution_run_id, "attempt": 1, "issued_at": 0}
