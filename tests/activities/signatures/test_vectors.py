"""Published and hostile signatures, when the collection of them is at hand beside the project."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from activities import strict_json
from activities.signatures import SCHEMES, ConfigError, SignatureError, SignedRequest
from tests.parts.vectors import CASES, body_of

URL = "https://hooks.example.com/callbacks/x"


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
