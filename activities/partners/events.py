"""Events: what a partner's file makes of a request, or of a part of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from workflows.contract import Answer


@dataclass(frozen=True)
class Event:
    """An event about the work of a stage.

    answer: what the partner says. token: our callback URL, or its token, as the event carries it; only for a partner
    whose `stage_by` is "token". reference: the partner's own id of the work, as its receipt gave it; only for a partner
    whose `stage_by` is "reference". An event at the partner's one URL that has neither is not ours.
    """

    answer: Answer
    token: str = field(default="", repr=False)
    reference: str = ""


class NotOurs(Enum):
    """See `NOT_OURS`."""

    NOT_OURS = "not ours"


NOT_OURS: Final = NotOurs.NOT_OURS
"""What a file returns for a signed event about something else, such as a payout, or another system's order. The partner
is answered 2xx, and no stage hears of it."""
