"""Waiting runs in the order in which an operator should look at them: those that need a person, then by deadline.

Temporal lists runs by the time of their start only. So all waiting runs are listed, up to a limit, and sorted here by
their search attributes. If there are more, the urgent ones are listed first, so that the limit cuts off others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import WorkflowExecutionStatus

from activities.finding import RunFilter
from activities.listing import OpenStages, Run, count_runs, finding_query
from activities.run_status import status_name
from activities.runs import Runs
from workflows.finding import DEADLINE_KEY, PARTNER_KEY, STAGE_KEY, STATE_KEY

MOST_SORTED: Final = 2_000
"""Waiting runs that are listed, for a page that shows 50 of them."""

AT_ONCE_LISTED: Final = 500
"""Runs in an answer of Temporal. Reading more at once would hold up what else the process does."""

NO_DEADLINE: Final = "~"
"""Comes after every deadline, which begins with a digit."""


@dataclass(frozen=True)
class WaitingRuns:
    """Some of the waiting runs, in order. total: how many there are. sorted_runs: how many were put in order."""

    shown: Sequence[Run]
    total: int
    sorted_runs: int


async def waiting_runs(runs: Runs, where: RunFilter, *, now: datetime, first: int, most: int) -> WaitingRuns:
    """The waiting runs that match, from number `first` on, which begins at 0; at most `most` of them.

    Raises what `list_runs` does.
    """
    where = replace(where, waiting=True)
    total = sum((await count_runs(runs, where)).values())
    found: dict[str, WorkflowExecutionInfo] = {}
    for one in [where] if total <= MOST_SORTED else [*_urgent(where, now), where]:
        if len(found) < MOST_SORTED:
            found |= {info.execution.run_id: info for info in await _list(runs, one)}
    in_order = sorted(found.values(), key=_urgency)[:MOST_SORTED]
    shown = [await _run_of(runs, info) for info in in_order[first : first + most]]
    return WaitingRuns(shown, max(total, len(in_order)), len(in_order))


def _urgent(where: RunFilter, now: datetime) -> Iterator[RunFilter]:
    """The filters that find the urgent ones of the runs that match."""
    if where.state in {"", "needs_person"}:
        yield replace(where, state="needs_person")
    yield replace(where, due=min(now, where.due or now))


async def _list(runs: Runs, where: RunFilter) -> list[WorkflowExecutionInfo]:
    """The latest runs that match, as Temporal sends them: the client would decode every field of each, for 0.2 ms."""
    found: list[WorkflowExecutionInfo] = []
    request = ListWorkflowExecutionsRequest(namespace=runs.client.namespace, page_size=AT_ONCE_LISTED)
    async with finding_query(runs, where) as request.query:
        while len(found) < MOST_SORTED:
            answer = await runs.client.workflow_service.list_workflow_executions(request, retry=True)
            found += answer.executions
            request.next_page_token = answer.next_page_token
            if not answer.next_page_token:
                break
    return found


def _urgency(info: WorkflowExecutionInfo) -> tuple[bool, str]:
    # Deadlines are in ISO 8601 and in UTC, so that their texts have the order of the moments.
    deadline = _attribute(info, DEADLINE_KEY.name)
    return _attribute(info, STATE_KEY.name) != "needs_person", deadline.removesuffix("Z") or NO_DEADLINE


def _attribute(info: WorkflowExecutionInfo, name: str) -> str:
    fields = info.search_attributes.indexed_fields
    value = json.loads(fields[name].data or b"null") if name in fields else None
    return value if isinstance(value, str) else ""


def _attributes(info: WorkflowExecutionInfo, name: str) -> list[str]:
    fields = info.search_attributes.indexed_fields
    values = json.loads(fields[name].data or b"null") if name in fields else None
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _open_stages(info: WorkflowExecutionInfo) -> OpenStages:
    deadline = _attribute(info, DEADLINE_KEY.name)
    return OpenStages(
        state=_attribute(info, STATE_KEY.name),
        stages=_attributes(info, STAGE_KEY.name),
        partners=_attributes(info, PARTNER_KEY.name),
        deadline=datetime.fromisoformat(deadline).timestamp() if deadline else None,
    )


async def _run_of(runs: Runs, info: WorkflowExecutionInfo) -> Run:
    memo = [info.memo.fields[name] for name in ("pipeline",) if name in info.memo.fields]
    pipelines = await runs.client.data_converter.decode(memo)
    return Run(
        workflow_id=info.execution.workflow_id,
        run_id=info.execution.run_id,
        pipeline=str(pipelines[0]) if pipelines else "",
        status=status_name(WorkflowExecutionStatus(info.status)),
        started_at=info.start_time.ToDatetime(UTC),
        closed_at=info.close_time.ToDatetime(UTC) if info.HasField("close_time") else None,
        open_stages=_open_stages(info),
        task_queue=info.task_queue,
    )
