"""Published and hostile signatures, when the collection of them is at hand beside the project."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from activities import strict_json
from activities.signatures import SCHEMES, ConfigError, Scheme, SignatureError, SignedRequest
from tests.parts.vectors import CASES, FIELD_CASES, body_of
from tests.parts.ways import WAYS

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


LINES = {
    "basic in lower case": "Marqeta",
    "close": "Close",
    "teams outgoing": "Microsoft Teams",
    "upper-case hex": "one that writes hex in capitals",
}
"""The beginning of the line of docs/signatures.md for a case that is not named as its provider."""


def line_of(case: dict[str, Any]) -> Scheme:
    """The scheme that the documentation's line for the case makes."""
    who = LINES.get(case["case"], case["case"].partition(",")[0])
    [way] = [way for way in WAYS if way.who.lower().startswith(who.lower())]
    header = {"header": case["headers"][0][0]} if who.startswith("one that") else {}
    return way.scheme(case["secret"], **header)


def received(case: dict[str, Any], **changes: Any) -> SignedRequest:
    headers = [(name, value) for name, value in case["headers"]]
    request = SignedRequest(case["method"], case["url"], headers, body_of(case))
    return replace(request, **changes)


@pytest.mark.skipif(not FIELD_CASES, reason="the collection of signatures is not beside the project")
@pytest.mark.parametrize("case", FIELD_CASES, ids=lambda case: case["case"])
def test_a_provider_is_set_up_by_its_line(case: dict[str, Any]) -> None:
    scheme, request = line_of(case), received(case)
    scheme.verify(request, case["now"])
    changes: list[dict[str, Any]] = [
        {
            "headers": [
                (name, _flipped(value) if at == place else value) for at, (name, value) in enumerate(request.headers)
            ]
        }
        for place in range(len(request.headers))
        # Box's other header is by the other key, which is not ours.
        if not request.headers[place][0].endswith("SECONDARY")
    ]
    changes += [{"body": request.body + b" "}, {"body": _flipped(request.body.decode()).encode()}] * scheme.covers_body
    changes += [{"url": request.url + "?a"}, {"url": _flipped(request.url)}] * scheme.covers_url
    for change in changes:
        with pytest.raises(SignatureError):
            scheme.verify(replace(request, **change), case["now"])
    for apart in (-302, 302) if scheme.covers_time else ():
        with pytest.raises(SignatureError, match="stale"):
            scheme.verify(request, case["now"] + apart)
    with pytest.raises(SignatureError):
        line_of({**case, "secret": case["secret"].replace("1", "2")}).verify(request, case["now"])


def _flipped(text: str) -> str:
    """The text with a bit of its last character but one changed."""
    return text[:-2] + chr(ord(text[-2]) ^ 1) + text[-1]
