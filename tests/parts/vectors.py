"""Captured requests with known signatures."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

FOLDER = Path(__file__).parents[3] / "shared" / "vectors"


def _cases(name: str) -> list[dict[str, Any]]:
    file = FOLDER / name
    return list(json.loads(file.read_text())["cases"]) if file.exists() else []


CASES = _cases("signatures.json")
FIELD_CASES = _cases("field-signatures.json")
"""One signed request of each of some providers, which says in words how it is signed."""


def body_of(case: dict[str, Any]) -> bytes:
    if case.get("body_base64") is not None:
        return base64.b64decode(case["body_base64"])
    if repeat := case.get("body_repeat"):
        return b"".join(str(text).encode() * int(count) for text, count in repeat)
    params = case.get("params", "")
    return params.encode() if isinstance(params, str) else urlencode(params).encode()
