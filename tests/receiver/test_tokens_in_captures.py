"""Callback tokens in captured requests are found in every spelling, and redacted."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.deliveries.delivery import Delivery, read_line
from tests.parts.captured_secrets import JWT, PACKED, SECRET, SECRETS, SHORT, SHORT_URL, TOKEN, URL, find, line, redact
from tests.parts.deliveries import delivery

TOKENS = {
    "URL": URL,
    "URL with its slashes escaped": URL.replace("/", "\\/"),
    "URL with its slashes as code points": URL.replace("/", "\\u002f"),
    "URL percent-encoded": quote(URL, safe=""),
    "URL percent-encoded twice": quote(quote(URL, safe=""), safe=""),
    "URL in base64": base64.b64encode(URL.encode()).decode(),
    "URL in base64, one later": base64.b64encode(b"x" + URL.encode()).decode(),
    "URL in base64, two later": base64.b64encode(b"xy" + URL.encode()).decode(),
    "URL in base64 behind other letters": f"state/{base64.urlsafe_b64encode(URL.encode()).decode()}",
    "URL in base64, escaped": base64.b64encode(b"???" + URL.encode()).decode().replace("/", "\\/"),
    "URL in base64, percent-encoded": quote(base64.b64encode(b"???" + URL.encode()).decode(), safe=""),
    "bare": TOKEN,
    "bare behind a letter": f"x{TOKEN}",
    "bare, its full stop percent-encoded": TOKEN.replace(".", "%2E"),
    "bare in base64": base64.b64encode(TOKEN.encode()).decode(),
    "packed": PACKED,
    "packed, its full stops percent-encoded": PACKED.replace(".", "%2E"),
    "packed behind other letters": f"something-of-some-length{PACKED}",
    "of nobody's, behind our path": f"/callbacks/{'a' * 16}.{'b' * 20}",
}


@pytest.mark.parametrize("written", TOKENS.values(), ids=TOKENS)
def test_a_callback_token_is_redacted_wherever_it_is(written: str) -> None:
    body = json.dumps({"url": "x", "kept": 1}).replace("x", written).encode()
    for found in (line(body), line(b"{}", headers=(("X-Odd", written),)), line(b"{}", signed_id=written)):
        assert find(found, {}) == ["a callback token"]
        clean = redact(read_line(found), {})
        assert find(json.dumps(clean.as_json()).encode(), {}) == []
        assert clean.body is None or clean.body.endswith((b'", "kept": 1}', b"{}"))


PLAIN = [name for name in TOKENS if "base64" not in name]


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_or_escaped_token_leaves_the_body_in_the_export(name: str) -> None:
    body = redact(read_line(line(json.dumps({"url": "x", "kept": 1}).replace("x", TOKENS[name]).encode())), {}).body
    assert body is not None
    assert body.endswith(b'", "kept": 1}')


def test_what_is_around_a_token_stays() -> None:
    for before, after in ((b"state=", b"&x=1"), (b'{"a": "', b'", "b": 2}'), (b"x ", b" y")):
        body = redact(read_line(line(before + URL.encode() + after)), {}).body
        assert body == before + b"https://hooks.example.com/callbacks/[redacted]" + after


@pytest.mark.parametrize("text", [JWT, f"Bearer {JWT}", "W3siYSI6MX1dIDEyMzQ1Njc4." + "s" * 43, "." * 99])
def test_what_only_looks_like_a_token_stays(text: str) -> None:
    one = line(text.encode(), headers=(("X-Odd", text),))
    assert find(one, {}) == []
    assert redact(read_line(one), {}) == replace(read_line(one), client="")


def test_an_export_has_no_token_in_a_header_name_or_method() -> None:
    clean = redact(delivery(method=TOKEN, headers=((PACKED, "1"), ("X", "2"))), {})
    assert (clean.method, clean.headers) == ("REDACTED", (("X", "2"),))
    assert Delivery.from_json(clean.as_json()) == clean


SPELLINGS = [
    lambda text: text,
    lambda text: quote(text, safe=""),
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(b"?" + text.encode()).decode(),
    lambda text: base64.encodebytes(b"ab" * 30 + text.encode()).decode(),
]


@pytest.mark.parametrize("spell", SPELLINGS)
def test_a_short_token_is_found_in_every_spelling(spell: Callable[[str], str]) -> None:
    for text in (SHORT, f"id_{SHORT}-again"):
        one = line(f"before {spell(text)} after".encode())
        assert find(one, {}) == ["a callback token"]
        assert find(json.dumps(redact(read_line(one), {}).as_json()).encode(), {}) == []


@given(
    st.lists(
        st.tuples(st.text("%2e.\\u/ab\n", max_size=8), st.lists(st.sampled_from(SPELLINGS), max_size=5)), max_size=4
    )
)
def test_nothing_is_found_in_what_was_redacted(written: list[tuple[str, list[Any]]]) -> None:
    text = ""
    for before, spellings in written:
        hidden = f"{SHORT_URL}/{URL}{SECRET}"
        for spell in spellings:
            hidden = spell(hidden)
        text += before + hidden
    clean = redact(read_line(line(text.encode(), signed_id=text)), SECRETS)
    assert find(json.dumps(clean.as_json()).encode(), SECRETS) == []
