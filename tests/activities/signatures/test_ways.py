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

pytestmark = pytest.mark.system

ways = pytest.mark.parametrize("way", WAYS, ids=[way.who[:50] for way in WAYS])


def reason(way: Way, request: SignedRequest, now: float = NOW, **changes: Any) -> str:
    with pytest.raises(SignatureError) as raised:
        way.scheme(**changes).verify(request, now)
    return raised.value.reason


def changed_body(body: bytes) -> bytes:
    for old, new in ((b"12", b"13"), (b"%2B1", b"%2B2"), (b"order:", b"other:"), (b"eyJ", b"eyK")):
        body = body.replace(old, new)
    return body


def test_the_tables_name_every_scheme_and_option() -> None:
    assert {way.name for way in WAYS} == set(SCHEMES)
    assert len(WAYS) >= 70
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert {*Options.__dataclass_fields__, "tolerance"} <= rows
    assert {name for way in WAYS for name in way.options} <= rows


@ways
def test_a_line_signs_what_it_verifies(way: Way) -> None:
    """A scheme that signs no body says so: kinds two and three refuse it, because anyone could send another body."""
    scheme = way.scheme()
    verified = scheme.verify(way.signed(), NOW)
    assert verified.timestamp == (NOW if scheme.covers_time else None)
    whole = any(part in way.options.get("signed", "body") for part in ("body", "{form"))
    if way.name == "jwt":
        whole = way.options.get("header") == "" or "body_hash" in way.options
    assert scheme.covers_event == (way.name in {"adyen-classic", "sns", "paypal"})
    assert scheme.covers_body == (not scheme.header_is_secret and not scheme.covers_event and whole)
    assert scheme.needs_url or not scheme.covers_url


@ways
def test_a_line_refuses_what_was_not_signed(way: Way) -> None:
    scheme, request = way.scheme(), way.signed()
    if way.name in {"hmac", "header-secret"}:
        assert reason(way, request, secret=way.secret(b"another-secret-another-secret-no")) == "mismatch"
    if scheme.covers_time:
        assert {reason(way, request, NOW + apart) for apart in (-302, 302)} == {"stale"}
    if scheme.covers_body or scheme.covers_event:
        assert reason(way, replace(request, body=changed_body(request.body)))
    if scheme.covers_url:
        assert reason(way, replace(request, url=request.url.replace("token", "tokem")))
        assert reason(way, replace(request, url=request.url + "&b=1"))


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
