"""What can go wrong with a run, and which of Temporal's answers means it.

RunNotFound
RunEnded
RunExists
└── RunCompleted
NoSuchStage
ProgressUnknown
├── WorkerAway
├── QueryFailed
└── NoProgressQuery
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.service import RPCError, RPCStatusCode

from activities.client import reaching_temporal
from activities.target import Target


class RunNotFound(Exception):
    """Temporal has no run with this id."""


class RunEnded(Exception):
    """The run has ended, so it takes no signal, command or cancellation."""


class RunExists(Exception):
    """A run with this id is open."""


class RunCompleted(RunExists):
    """A run with this id has completed."""


class ProgressUnknown(Exception):
    """The state of the run's stages is unavailable; the run itself is safe."""


class WorkerAway(ProgressUnknown):
    """No worker answered a query."""


class QueryFailed(ProgressUnknown):
    """A worker cannot execute the run: the worker has another version, or lacks the run's class."""


class NoProgressQuery(ProgressUnknown):
    """The run's class does not have the query: it is not a staged workflow, or its worker has an earlier version."""


class NoSuchStage(Exception):
    """The run's pipeline has no stage with this number."""


@asynccontextmanager
async def reaching_run(target: Target, workflow_id: str, *, within: float | None = 15.0) -> AsyncIterator[None]:
    """Turn Temporal's NOT_FOUND into `RunNotFound`, and signs that it is unreachable into `TemporalUnreachable`."""
    try:
        async with reaching_temporal(target, within=within):
            yield
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise RunNotFound(f"no open or recent run has the id {workflow_id}") from error
