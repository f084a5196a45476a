"""The work of looking for secrets in a body is bounded by its size."""

from __future__ import annotations

import base64
import json
import time
import zlib
from urllib.parse import quote

import pytest

from activities.redaction.text import TOO_MUCH, WORK_PER_BYTE, Found, search
from activities.redaction.tokens import redact_tokens
from receiver.deliveries.delivery import read_line
from tests.parts.captured_secrets import SECRET, SECRETS, find, line, redact
from tests.parts.deliveries import delivery


def encoded(seed: bytes, times: int) -> bytes:
    for _ in range(times):
        seed = base64.b64encode(seed)
    return seed


ESCAPES = b"%2541%5cu0041\\u0025\\u0034\\/a"
BOMB = base64.urlsafe_b64encode(zlib.compress(b'[1,"' + b"a" * 2**20))[:99]


def hostile_texts(size: int) -> dict[str, bytes]:
    """Texts of this many bytes, as any sender may choose them."""

    def repeated(text: bytes) -> bytes:
        return text * (size // len(text))

    return {
        "letters": b"a" * size,
        "letters and full stops": repeated(b"a."),
        "runs and full stops": repeated(b"a" * 43 + b"."),
        "paths": repeated(b"/callbacks/"),
        "tokens": repeated(b"/callbacks/" + b"a" * 16 + b"." + b"b" * 20 + b" "),
        "tokens, escaped": repeated(quote("/callbacks/" + "a" * 16 + "." + "b" * 20 + " ", safe="").encode()),
        "nearly tokens": repeated(b"a" * 16 + b"." + b"b" * 42 + b" "),
        "beginnings of tokens": repeated(b"WzEsI"),
        "beginnings of claims": repeated(base64.b64encode(b'[1,"' + b"\\a" * 3000) + b"." + b"b" * 43 + b" "),
        "packed zeros": repeated(b"." + BOMB + b"." + b"b" * 43),
        "percent-encoded": repeated(b"%41"),
        "percent-encoded many times": repeated(b"%" + b"25" * 20),
        "backslashes": b"\\" * size,
        "every escape": repeated(ESCAPES),
        "short base64": repeated(base64.b64encode(b"123456789") + b" "),
        "short base64, each another": b" ".join(base64.b64encode(b"%%%08d" % n) for n in range(size // 17)),
        "short base64 among escapes": b"%20".join(base64.b64encode(b"\\u0025%06d" % n) for n in range(size // 20)),
        "longer at every level": b"%25252F".join(base64.b64encode(b"%%%08d" % n) for n in range(size // 20)),
        "base64 in base64": encoded(repeated(ESCAPES), 2),
        "escapes in base64 many times": encoded(ESCAPES * (size // 100), 5),
        "a secret in base64 many times": encoded(SECRET.encode() * (size // 100), 4),
        "secrets in base64": repeated(base64.b64encode(SECRET.encode()) + b" "),
        "lines": repeated(b"a" * 60 + b"\n"),
        "blanks": repeated(b"a" * 40 + b" " * 2**10),
    }


SMALL = 32 * 1024
HOSTILE = hostile_texts(SMALL)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.fault)])
def test_work_is_bounded_by_the_size(text: bytes, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: bytes that are looked at in one search, at each level of each encoding."""
    monkeypatch.setattr("activities.redaction.text.LEAST_WORK", 0)
    looked_at = 0

    def look(plain: bytes) -> list[Found]:
        nonlocal looked_at
        looked_at += len(plain)
        return []

    list(search(text * times, look))
    assert looked_at <= WORK_PER_BYTE * len(text) * times


def time_of_reading(text: bytes) -> float:
    """Seconds of CPU to redact and to search this text, as a body and as a header."""
    began = time.process_time()
    redact_tokens(text)
    redact(read_line(line(text, headers=(("X-Odd", text.decode().replace("\n", " ")),))), SECRETS)
    find(line(text), SECRETS)
    return time.process_time() - began


@pytest.mark.system
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_long_text_is_read_a_few_times(text: bytes) -> None:
    """It takes far less; a pattern that starts at every character takes ten seconds."""
    assert time_of_reading(text) < 1.5


@pytest.mark.fault
@pytest.mark.parametrize("name", HOSTILE)
def test_a_very_long_text_is_read_a_few_times(name: str) -> None:
    """Eight seconds a mebibyte are far more than it takes; without a bound it takes minutes."""
    assert time_of_reading(hostile_texts(8 * SMALL)[name]) < 6


@pytest.mark.parametrize("count", [500, pytest.param(2000, marks=pytest.mark.fault)])
def test_many_small_texts_cost_what_one_of_their_size_does(count: int) -> None:
    small = [(ESCAPES + encoded(ESCAPES * 2 + b"%05d" % n, 2)).decode() for n in range(count)]
    began = time.process_time()
    find(json.dumps(small).encode(), SECRETS)
    redact(delivery(headers=tuple(("X-Odd", one) for one in small)), SECRETS)
    assert time.process_time() - began < 6 * count / 2000


def test_what_has_too_many_layers_is_found_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.redaction.text.LEAST_WORK", 0)
    text = HOSTILE["longer at every level"]
    assert find(text, SECRETS) == [TOO_MUCH]
    assert redact(read_line(line(text)), SECRETS).body is None
