"""Reasons: why an operator does something, as a form gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from receiver.cli.errors import CommandError, Exit

LONGEST_REASON: Final = 300
"""Characters."""


def read_reason(form: Mapping[str, str]) -> str:
    """Return the reason in a form; raises `CommandError` if it is missing or too long."""
    reason = form.get("reason", "").strip()
    if not 0 < len(reason) <= LONGEST_REASON:
        what = f"the reason has {len(reason)} characters"
        raise CommandError(what, f"go back, and use 1 to {LONGEST_REASON} characters", Exit.USAGE)
    return reason
