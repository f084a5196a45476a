"""The state in which a run can begin, other than at its first stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workflows.contract import Carried, Stage
from workflows.mailbox import Mailbox


def waiting_state(stages: Sequence[Stage], calls: Mapping[int, tuple[int, int]], *, at: float) -> Carried:
    """Make the state of a run in which some stages wait for a callback, and all others are advanced.

    A run that begins with this state calls no partner for these stages.

    calls: the call of each stage that waits, by stage number: its attempt, and when it was issued in unix seconds. The
    stage takes a `failed` callback only for this call. at: now, in unix seconds.
    """
    mailbox = Mailbox("", last_stage=len(stages))
    for stage in stages:
        attempt, issued_at = calls.get(stage.number, (1, int(at)))
        record = mailbox.record(stage.number)
        record.open(at=at)
        record.begin(attempt=attempt, issued_at=issued_at, at=at)
        record.returned(at=at)
        if stage.number in calls:
            record.wait(at=at, timeout=stage.timeout, cap=stage.wait_cap)
        else:
            record.settle("advanced", "operator", at=at)
    return mailbox.carry()
