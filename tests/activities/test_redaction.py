"""No callback token of ours in what a partner says, however the partner writes it."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.callback_urls import CallbackURLs, Claims
from activities.partners.answers import scrubbed
from activities.redaction.tokens import scrubbed_text
from tests.support import KEY
from workflows.contract import Answer

NOW = 1_800_000_000
URLS = CallbackURLs("https://hooks.example.com", [KEY], now=lambda: NOW)
URL = URLS.issue(Claims("onboarding-1", "0190-chain", 2, 1, "bank", NOW, NOW + 3600))
LONG_URL = URLS.issue(Claims("z" * 900, "0190-chain", 2, 1, "bank", NOW, NOW + 3600))
SHORT_URL = URLS.issue(Claims("onboarding-1", "01a20379-1751-78ce-ac76-c1d64654450f", 2, 1, "bank", NOW, NOW + 60), 2)
SHORT = SHORT_URL.rpartition("/")[2]
JSON_ESCAPE = re.compile(r'\\u([0-9a-f]{4})|\\(["\\/])')
TOKEN = URL.rpartition("/")[2]


def in_json(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


def in_percent(text: str) -> str:
    return "".join(f"%{ord(letter):02x}" for letter in text)


SPELLINGS = {
    "a URL": URL,
    "a token": TOKEN,
    "a packed token": LONG_URL.rpartition("/")[2],
    "quoted": quote(URL, safe=""),
    "quoted twice": quote(quote(URL, safe=""), safe=""),
    "in percents throughout": in_percent(URL),
    "its dot in percents": TOKEN.replace(".", "%2E"),
    "escaped slashes": URL.replace("/", "\\/"),
    "in JSON's escapes throughout": in_json(URL),
    "its dot in JSON's escapes": TOKEN.replace(".", "\\u002e"),
    "JSON within JSON": json.dumps(json.dumps({"url": in_json(URL)})),
    "a short URL": SHORT_URL,
    "a short token": SHORT,
    "a short token as the end of a word": f"id-{SHORT}",
    "a short token as the middle of a word": f"idsh2{SHORT}-retry-1",
    "a short URL, quoted": quote(SHORT_URL, safe=""),
    "a short token in percents throughout": in_percent(SHORT),
    "a short token in JSON's escapes throughout": in_json(SHORT),
    "a short token's beginning in JSON's escapes": "\\u0073" + SHORT[1:],
}


def readings(text: str) -> set[str]:
    """What a reader may take a text for, who resolves escapes of both kinds until there are none."""
    read = {text}
    for _ in range(4):
        read |= {unquote(one) for one in read}
        read |= {JSON_ESCAPE.sub(lambda found: found[2] or chr(int(found[1], 16)), one) for one in read}
    return read


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_no_reading_of_a_scrubbed_text_has_the_token(spelling: str) -> None:
    clean = scrubbed_text(f"Zoë: {spelling} was refused")
    assert not any(secret in read for read in readings(clean) for secret in (TOKEN, SHORT, LONG_URL.rpartition("/")[2]))
    assert "[removed]" in clean
    assert clean.startswith("Zoë: ")
    assert clean.endswith(" was refused")


def test_all_texts_of_an_answer_are_scrubbed() -> None:
    deep = {"deep": (URL, 1.5, None, True)}
    clean = "https://hooks.example.com/callbacks/[removed]"
    assert scrubbed(Answer("failed", {URL: [deep], "plain": "kept"}, code=TOKEN, message=f"at {URL}")) == Answer(
        "failed",
        {clean: [{"deep": [clean, 1.5, None, True]}], "plain": "kept"},
        code="[removed]",
        message=f"at {clean}",
    )


def test_every_token_in_a_text_is_removed() -> None:
    assert scrubbed_text(f"{TOKEN} {TOKEN},{TOKEN}") == "[removed] [removed],[removed]"
    assert scrubbed_text(f"{SHORT} {TOKEN},{SHORT}/{SHORT}") == "[removed] [removed],[removed]/[removed]"


@given(st.text(), st.text())
def test_a_token_is_removed_whatever_is_around_it(before: str, after: str) -> None:
    assert TOKEN not in scrubbed_text(f"{before} {URL} {after}")
    assert SHORT not in scrubbed_text(f"{before} {SHORT_URL} {after}")
    assert SHORT not in scrubbed_text(f"{before}{SHORT}{after}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100 % of it",
        "%zz and \\u12",
        "file.abcdefghijklmnopqrstuvwxyz",
        "https://hooks.example.com/callbacks/",
        "a lone \ud83d surrogate, and %41 beside it",
        "eyJhbGciOiJIUzI1NiJ9." + "a" * 43,
        "C:\\users\\new",
        "sh2" + "a" * 100,
        "sh2" + "a" * 100 + "sh2" + "b" * 20,
        f"{SHORT[:60]} is too short, and {SHORT[1:]} has another beginning",
    ],
)
def test_a_text_without_a_token_stays_as_it_is(text: str) -> None:
    assert scrubbed_text(text) == text
    assert scrubbed(Answer("succeeded", {"text": text}, text, text)) == Answer("succeeded", {"text": text}, text, text)


def test_scrubbing_twice_changes_nothing_more() -> None:
    once = scrubbed(Answer("failed", {"a": URL}, message=quote(URL, safe="")))
    assert scrubbed(once) == once
