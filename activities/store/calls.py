"""The table of calls: which call each reference of a partner belongs to, and what each call is of.

Some partners send everything to one webhook URL, and send back only their own id of the work. The worker writes that id
beside the call, and the receiver looks it up. The calls to all other partners are written behind the call by
`activities.store.call_notes`, and may be missing: only statistics and the pipeline's name on deliveries depend on them.
The table does not know which runs still wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from activities.callback_urls import Claims
from activities.store.database import Database
from workflows.contract import TOKEN_SLACK

_INSERT: Final = """
    INSERT INTO calls
        (call_id, workflow_id, chain_id, stage, attempt, issued_at, expires_at, partner, reference, called_at,
        pipeline, definition, key_fingerprint, stage_by)
    VALUES
        (:call_id, :workflow_id, :chain_id, :stage, :attempt, :issued_at, :expires_at, :partner, '', :called_at,
        :pipeline, :definition, :key_fingerprint, :stage_by)
"""

BEGIN_CALL: Final = f"{_INSERT} ON CONFLICT (call_id) DO UPDATE SET stage_by = :stage_by"
"""Record a call before its request is sent. A repeated try finds the row of the first."""

NOTE_CALL: Final = f"{_INSERT} ON CONFLICT (call_id) DO NOTHING"
"""Record a call behind the call."""

SET_REFERENCE: Final = """
    INSERT INTO calls
        (call_id, workflow_id, chain_id, stage, attempt, issued_at, expires_at, partner, reference, called_at)
    VALUES
        (:call_id, :workflow_id, :chain_id, :stage, :attempt, :issued_at, :expires_at, :partner, :reference, :called_at)
    ON CONFLICT (call_id) DO UPDATE SET reference = :reference
"""
"""Record the partner's reference of a call. An operator may record it for a call that this store does not have."""

FORGET: Final = "DELETE FROM calls WHERE call_id = :call_id AND reference = ''"
"""Remove a call for which no event can come. While its row is there, unknown references of the partner are kept."""

FIND_CALLS: Final = """
    SELECT reference, workflow_id, chain_id, stage, attempt, issued_at, expires_at, partner FROM calls
    WHERE partner = :partner AND reference {among_texts} ORDER BY called_at, position
"""
"""The calls with some references. Of several with one reference, the last is the latest."""

FIND_ORIGINS: Final = """
    SELECT call_id, pipeline, definition, called_at FROM calls WHERE call_id {among_texts}
"""
"""What some calls are of."""

FIND_ORIGIN: Final = FIND_ORIGINS.replace("{among_texts}", "= :call_id")
"""What a single call is of. PostgreSQL may keep its plan; see `queries.LOOK_ONE`."""

HAS_OPEN_CALL: Final = """
    SELECT 1 FROM calls
    WHERE partner = :partner AND reference = '' AND stage_by = 'reference' AND expires_at > :now LIMIT 1
"""
"""Whether the partner has a call whose reference is still to come."""

PRUNE_CALLS: Final = """
    DELETE FROM calls
    WHERE position IN (
        SELECT position FROM calls WHERE expires_at < CAST(:before AS bigint) ORDER BY expires_at LIMIT :most
    )
"""
"""Delete calls whose callback URLs have expired, at most `most`.

CAST: PostgreSQL would compare a fraction with every row, without the index. ORDER BY: see `queries.PRUNE`.
"""


NOTE_SECONDS: Final = 2.0
"""Limit of a transaction that writes calls behind the call. A call whose row must be there waits for it."""


@dataclass(frozen=True)
class CallOrigin:
    """What a call is of. stage_by: as in `Partner`; see `StageCall` for the others."""

    pipeline: str = ""
    definition: str = ""
    key_fingerprint: str = ""
    stage_by: str = "reference"


UNKNOWN_ORIGIN: Final = CallOrigin()


@dataclass(frozen=True)
class NotedCall:
    """A call to write behind the call. called_at: unix seconds."""

    claims: Claims
    origin: CallOrigin
    called_at: float


class Calls:
    """The worker's side of the table. Its methods raise `StoreAway`.

    One statement is on its way at a time, each on a connection of its own, so that a worker needs one connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()

    async def begin(self, claims: Claims, origin: CallOrigin = UNKNOWN_ORIGIN) -> None:
        """Record a call that is about to be sent."""
        await self._do(BEGIN_CALL, _whole_row(NotedCall(claims, origin, time.time())))

    async def note(self, calls: Sequence[NotedCall]) -> None:
        """Record calls that have been sent."""
        await self._do(NOTE_CALL, [_whole_row(call) for call in calls], within=NOTE_SECONDS)

    async def refer(self, claims: Claims, reference: str) -> None:
        """Record the partner's own id of the call's work."""
        await self._do(SET_REFERENCE, {**_row(claims), "reference": reference, "called_at": time.time()})

    async def forget(self, claims: Claims) -> None:
        """Remove a call that the partner refused, or has answered for good, unless its id is recorded."""
        await self._do(FORGET, _row(claims))

    async def _do(
        self, query: str, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, within: float | None = None
    ) -> None:
        def execute() -> None:
            with self._database.begin(within=within) as connection:
                connection.execute(sa.text(query), parameters)

        async with self._turn:
            await asyncio.to_thread(execute)


def _row(claims: Claims) -> dict[str, Any]:
    return {"call_id": claims.idempotency_key, **vars(claims)}


def _whole_row(call: NotedCall) -> dict[str, Any]:
    return {**_row(call.claims), **vars(call.origin), "called_at": call.called_at}


KEPT_AFTER_EXPIRY: Final = TOKEN_SLACK
"""Seconds for which a call's row is kept after its callback URL has expired."""
