"""Reasons: why an operator does something, as a form gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from receiver.console.orders import InvalidOrder

LONGEST_ORDER_REASON: Final = 300
"""Characters."""


def read_reason(form: Mapping[str, str]) -> str:
    """Return the reason in a form; raises `InvalidOrder` if it is missing or too long."""
    reason = form.get("reason", "").strip()
    if not 0 < len(reason) <= LONGEST_ORDER_REASON:
        raise InvalidOrder(f"the reason has {len(reason)} characters: use 1 to {LONGEST_ORDER_REASON}")
    return reason
