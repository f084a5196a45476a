"""Published and hostile signatures, when the collection of them is at hand beside the project."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from activities import strict_json
from activities.signatures import SCHEMES, ConfigError, SignatureError, SignedRequest

FILE = Path(__file__).parents[4] / "shared" / "vectors" / "signatures.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text())["cases"] if FILE.exists() else []
URL = "https://hooks.example.com/callbacks/x"


def body_of(case: dict[str, Any]) -> bytes:
    if case.get("body_base64") is not None:
        return base64.b64decode(case["body_base64"])
    if repeat := case.get("body_repeat"):
        return b"".join(str(text).encode() * int(count) for text, count in repeat)
    params = case.get("params", "")
    return params.encode() if isinstance(params, str) else urlencode(params).encode()


def verify(case: dict[str, Any]) -> None:
    scheme = SCHEMES[case["scheme"]](secrets=[case["secret"]], tolerance=300, **case.get("options", {}))
    headers = [(name, value) for name, value in case["headers"]]
    request = SignedRequest(case["method"] or "POST", case["url"] or URL, headers, body_of(case))
    scheme.verify(request, 0.0 if case["now"] is None else case["now"])


@pytest.mark.skipif(not CASES, reason="the collection of signatures is not beside the project")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['scheme']}: {case['case'][:50]}")
def test_a_case_ends_as_it_should(case: dict[str, Any]) -> None:
    if case.get("layer") == "parse":
        verify(case)
        with pytest.raises(strict_json.NotStrictJSON):
            strict_json.loads(body_of(case))
        return
    match case["expect"]:
        case "accept":
            verify(case)
        case "reject":
            with pytest.raises(SignatureError):
                verify(case)
        case "config-error":
            with pytest.raises(ConfigError):
                verify(case)
        case "config-error-or-trim":
            with contextlib.suppress(ConfigError):
                verify(case)
        case "replay-guard":
            verify(case)
        case other:
            raise AssertionError(f"unknown expectation {other}")
