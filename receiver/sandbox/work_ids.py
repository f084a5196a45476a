"""Ids of works: `esign-1a2b3c4d`, or with the call's data in them, from which the sandbox can make the work again.

The data comes from the caller, and only the caller is told the id; nothing is gained by changing it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

LONGEST_DATA: Final = 200
"""Bytes of data in an id. A receipt may have a reference of 300 characters; longer data is left out."""

KEY_CHARACTERS: Final = 8


def work_id(partner: str, key: str, data: Mapping[str, Any] | None = None) -> str:
    """Make the id of the work that a call started. key: its idempotency key. data: what to put into the id."""
    name = f"{partner}-{key[:KEY_CHARACTERS]}"
    text = b"" if data is None else json.dumps(data, separators=(",", ":")).encode()
    return f"{name}-{base64.urlsafe_b64encode(text).decode().rstrip('=')}" if 0 < len(text) <= LONGEST_DATA else name


def data_in(partner: str, name: str) -> dict[str, Any] | None:
    """Return the data in the id of a partner's work, or None."""
    text = name.removeprefix(f"{partner}-")[KEY_CHARACTERS + 1 :]
    try:
        data = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
