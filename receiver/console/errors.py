"""The errors that the console expects, and the HTTP status of each."""

from __future__ import annotations

from typing import Final

from activities.client import TemporalUnreachable
from activities.finding import AttributesOff, AttributeTaken, SetupRefused
from activities.lanes import LaneRefused
from activities.run_errors import NoSuchStage, ProgressUnknown, RunNotFound
from activities.store.errors import StoreAway
from receiver.advice import ERROR_ADVICE
from receiver.deliveries.errors import NoSuchDelivery

EXPECTED_ERRORS: Final[tuple[type[Exception], ...]] = (TemporalUnreachable, *ERROR_ADVICE)
"""Errors for which `advice_on` has advice. They become a page that says it."""

MISSING: Final = (RunNotFound, NoSuchStage, NoSuchDelivery)
AWAY: Final = (
    TemporalUnreachable,
    ProgressUnknown,
    StoreAway,
    AttributesOff,
    AttributeTaken,
    SetupRefused,
    LaneRefused,
)


def status_of(error: Exception) -> int:
    """The HTTP status of an expected error."""
    if isinstance(error, MISSING):
        return 404
    return 503 if isinstance(error, AWAY) else 409
