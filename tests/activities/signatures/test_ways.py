"""Every line of the tables in docs/signatures.md signs and verifies, and refuses what it must."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from typing import Any

import pytest

from activities.environment import Environment
from activities.partners.partner import signature
from activities.signatures import SCHEMES, Scheme, SignatureError, SignedRequest
from activities.signatures.hmac_options import Options
from tests.parts.setups import NOW, URL
from tests.parts.ways import PAGE, WAYS, Way

ways = pytest.mark.parametrize("way", WAYS, ids=[way.who[:50] for way in WAYS])


def reason(way: Way, request: SignedRequest, now: float = NOW, **changes: Any) -> str:
    with pytest.raises(SignatureError) as raised:
        way.scheme(**changes).verify(request, now)
    return raised.value.reason


def test_the_tables_name_every_scheme_and_option() -> None:
    assert {way.name for way in WAYS} == set(SCHEMES)
    assert len(WAYS) >= 70
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert {*Options.__dataclass_fields__, "tolerance"} <= rows
    assert {name for way in WAYS for name in way.options} <= rows


@ways
def test_a_line_signs_what_it_verifies(way: Way) -> None:
    verified = way.scheme().verify(way.signed(), NOW)
    assert verified.timestamp == (NOW if way.scheme().covers_time else None)


@ways
def test_another_key_is_refused(way: Way) -> None:
    if way.name in {"hmac", "header-secret"}:
        other = way.secret(b"another-secret-another-secret-no")
        assert reason(way, way.signed(), secret=other) == "mismatch"


@ways
def test_a_stale_request_is_refused_in_both_directions(way: Way) -> None:
    if way.scheme().covers_time:
        assert {reason(way, way.signed(), NOW + apart) for apart in (-302, 302)} == {"stale"}


@ways
def test_a_changed_body_is_refused_if_the_line_covers_it(way: Way) -> None:
    request = way.signed()
    changed = replace(request, body=request.body.replace(b"12", b"13").replace(b"%2B1", b"%2B2"))
    assert changed.body != request.body or "json=" in str(request.body)
    if way.scheme().covers_body:
        assert reason(way, changed)


@ways
def test_another_url_is_refused_if_the_line_covers_it(way: Way) -> None:
    request = way.signed()
    if way.scheme().covers_url:
        assert reason(way, replace(request, url=request.url.replace("token", "tokem")))
        assert reason(way, replace(request, url=request.url + "&b=1"))


@ways
def test_a_line_that_signs_no_body_says_so(way: Way) -> None:
    """Kinds two and three refuse it at the start, because anyone could send any body with a seen signature."""
    signed = way.options.get("signed", "body")
    whole = any(part in signed for part in ("body", "{form}"))
    assert way.scheme().covers_body == (way.name not in {"basic", "bearer", "header-secret"} and whole)


def test_a_scheme_of_ones_own_signs_and_verifies() -> None:
    [code] = [
        block for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if "class SortedJson" in block
    ]
    room: dict[str, Any] = {}
    exec(compile(code, "signatures.md", "exec"), room)
    scheme = signature(room["SortedJson"], Environment({"ACME_SECRET": "a-long-secret"}), "ACME_SECRET", fix="")
    assert isinstance(scheme, Scheme)
    request = scheme.sign_request(SignedRequest("POST", URL, [], b'{"b": 1, "a": 2}'), now=NOW, delivery_id="")
    assert scheme.verify(replace(request, body=b'{"a":2,"b":1}'), NOW).key_index == 0
    for body in (b'{"b": 1, "a": 3}', b"no JSON", b"", b'{"a":1,"a":2}'):
        with pytest.raises(SignatureError):
            scheme.verify(replace(request, body=body), NOW)


def test_the_first_line_of_the_page_is_one_of_the_table() -> None:
    [code] = [
        block for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if block.startswith("signature")
    ]
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    options = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords if one.arg != "fix"}
    assert options in [way.options for way in WAYS if way.who == "Calendly"]
    assert signature("hmac", Environment({"ACME_SECRET": "a-long-secret"}), "ACME_SECRET", fix="", **options)
