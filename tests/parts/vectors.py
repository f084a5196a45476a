"""Captured requests with known signatures."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

FILE = Path(__file__).parents[3] / "shared" / "vectors" / "signatures.json"


CASES: list[dict[str, Any]] = json.loads(FILE.read_text())["cases"] if FILE.exists() else []


def body_of(case: dict[str, Any]) -> bytes:
    if case.get("body_base64") is not None:
        return base64.b64decode(case["body_base64"])
    if repeat := case.get("body_repeat"):
        return b"".join(str(text).encode() * int(count) for text, count in repeat)
    params = case.get("params", "")
    return params.encode() if isinstance(params, str) else urlencode(params).encode()
