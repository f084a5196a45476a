"""The final report of `stagehook delivery replay`: for each sent delivery, the answer now and the captured answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from receiver.cli.output import note, print_json
from receiver.cli.tables import print_list
from receiver.replay.sending import Replayed

SHOWN: Final = 200
"""Lines of the table. Deliveries whose answer differs are always shown."""


def print_replayed(replayed: Sequence[Replayed], *, of: int, left_out: int, as_json: bool) -> None:
    """Print which deliveries were sent. of: how many should have been sent."""
    same = sum(one.same for one in replayed)
    if as_json:
        lines = [_replayed_as_json(one) for one in replayed]
        print_json({"sent": len(replayed), "same": same, "left_out": left_out, "deliveries": lines})
        return
    if replayed:
        shown = [one for place, one in enumerate(replayed) if place < SHOWN or not one.same]
        titles = ("id", "partner", "stage", "into", "at capture", "now", "same")
        print_list(titles, map(_cells, shown), below=("into", "partner"))
    answered = sum(bool(one.answered) for one in replayed)
    sent = f"{len(replayed)} sent" if len(replayed) == of else f"{len(replayed)} of {of} sent"
    note(f"{sent}, {answered} answered, {same} as at capture")


def _cells(one: Replayed) -> tuple[str, ...]:
    delivery = one.delivery
    now = str(one.answered) if one.answered else one.error
    stage = f"{delivery.stage}/{delivery.attempt}"
    same = "yes" if one.same else "NO"
    return delivery.id, delivery.partner, stage, one.workflow_id, str(delivery.status), now, same


def _replayed_as_json(one: Replayed) -> dict[str, Any]:
    return {
        "id": one.delivery.id,
        "partner": one.delivery.partner,
        "workflow_id": one.workflow_id,
        "stage": one.delivery.stage,
        "captured": one.delivery.status,
        "answered": one.answered,
        "error": one.error,
        "same": one.same,
    }
