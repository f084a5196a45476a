"""Run `stagehook` with a defect, which the checks must notice: `python -m tests.chaos.broken DEFECT COMMAND`."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from receiver import callbacks
from receiver.answers import Refused, Verdict
from receiver.cli import main
from receiver.deliveries import queries
from receiver.sending.signal import Signal
from receiver.sending.stored import Stored
from workflows.contract import Callback
from workflows.mailbox import Mailbox
from workflows.stage_record import StageRecord

COMMITS_AFTER: Final = 30.0
"""Seconds, long enough for a receiver to be killed before."""


def answer_before_commit() -> None:
    deliver = Stored.deliver

    async def answer(self: Stored, *args: Any, **options: Any) -> Verdict:
        async def commit() -> None:
            await asyncio.sleep(COMMITS_AFTER)
            await deliver(self, *args, **options)

        TASKS.append(asyncio.create_task(commit()))
        return Verdict.ACCEPTED

    Stored.deliver = answer  # type: ignore[method-assign]


TASKS: Final[list[asyncio.Task[None]]] = []


def random_request_ids() -> None:
    make = Signal.of

    def of(*args: Any, **options: Any) -> Signal:
        return replace(make(*args, **options), request_id=uuid.uuid4().hex, earlier_id="")

    Signal.of = of  # type: ignore[method-assign]


def claim_without_lease() -> None:
    lease, none = "SET due_at = :until", "SET due_at = due_at"
    _claim_by(queries.CLAIM.replace(lease, none))
    queries.CLAIM_NEXT = queries.CLAIM_NEXT.replace(lease, none)  # type: ignore[misc]


def no_order_within_a_stage() -> None:
    line = queries.CLAIM
    begin, end = line.index("AND NOT EXISTS"), line.index("ORDER BY")
    _claim_by((line[:begin] + line[end:]).replace("ORDER BY due_at, position", "ORDER BY request_id"))


def _claim_by(query: str) -> None:
    """Let every claim be this one, also those that begin with the newest."""
    assert query != queries.CLAIM
    queries.CLAIM = queries.CLAIM_NEWEST = query  # type: ignore[misc]


def not_found_for_our_own_fault() -> None:
    callbacks._not_durable = lambda error: Refused(Verdict.UNKNOWN)


def settle_twice() -> None:
    judge = Mailbox._judge

    def judge_again(self: Mailbox, record: StageRecord, callback: Callback, at: float) -> None:
        record.outcome = None
        judge(self, record, callback, at)

    Mailbox._judge = judge_again  # type: ignore[method-assign]


DEFECTS: Final[Mapping[str, Callable[[], None]]] = {
    defect.__name__: defect
    for defect in (
        answer_before_commit,
        random_request_ids,
        claim_without_lease,
        no_order_within_a_stage,
        not_found_for_our_own_fault,
        settle_twice,
    )
}

if __name__ == "__main__":
    DEFECTS[sys.argv.pop(1)]()
    main()
