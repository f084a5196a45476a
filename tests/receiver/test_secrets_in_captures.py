"""An export holds no known secret, however it is written; `check` finds every one."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import pytest

from activities.callback_urls import CallbackURLs, Claims
from receiver.deliveries.delivery import digest, read_line
from receiver.deliveries.secrets import blot_tokens, find, known_secrets, redact
from tests.receiver.test_inbox import delivery
from tests.support import KEY

SECRET = "s3cr3t/with+odd=chars?"
SECRETS = {"ACME_SECRET": SECRET}
URL = CallbackURLs("https://hooks.example.com", [KEY]).issue(Claims("run", "chain", 1, 1, "bank", 1, 2))
HIDDEN = {
    "plain": SECRET.encode(),
    "percent-encoded": quote(SECRET, safe="").encode(),
    "every character percent-encoded": "".join(f"%{byte:02x}" for byte in SECRET.encode()).encode(),
    "base64": base64.b64encode(SECRET.encode()),
    "base64 behind one byte": base64.b64encode(b"x" + SECRET.encode() + b"yz"),
    "base64 behind two bytes": base64.b64encode(b"xy" + SECRET.encode() + b"z"),
    "base64 for URLs": base64.urlsafe_b64encode(b"??>" + SECRET.encode()),
}


def line(body: bytes, **changes: Any) -> bytes:
    one = delivery(body=body, body_size=len(body), body_digest=digest(body), **changes)
    return json.dumps(one.as_json()).encode()


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
def test_a_secret_is_found_in_a_body_and_beside_it(hidden: bytes) -> None:
    assert list(find(line(b"before " + hidden + b" after"), SECRETS)) == ["ACME_SECRET"]
    assert list(find(b"any text " + hidden, SECRETS)) == ["ACME_SECRET"]
    assert list(find(line(b"{}", headers=(("X-Odd", hidden.decode()),)), SECRETS)) == ["ACME_SECRET"]


def test_a_body_without_secrets_passes() -> None:
    assert list(find(line(b'{"status": "succeeded", "about": "callbacks"}'), SECRETS)) == []


@pytest.mark.parametrize("written", [URL, URL.replace("/", "\\/"), quote(URL, safe="")])
def test_a_callback_url_is_found_and_blotted_out(written: str) -> None:
    found = line(json.dumps({"url": "x"}).replace("x", written).encode())
    assert list(find(found, {})) == ["a callback token"]
    clean = redact(read_line(found), {})
    assert clean.body is not None
    assert b"callbacks" in clean.body
    assert list(find(json.dumps(clean.as_json()).encode(), {})) == []


def test_what_is_exported_has_no_secret_and_no_address() -> None:
    one = delivery(
        body=f"x {SECRET} y".encode(),
        client="192.0.2.7",
        headers=(("X-Forwarded-For", "192.0.2.8"), ("X-Note", SECRET), ("X-Note", "kept")),
    )
    clean = redact(one, SECRETS)
    assert clean.headers == (("X-Note", "[redacted]"), ("X-Note", "kept"))
    assert (clean.body, clean.client) == (b"x [redacted] y", "")
    assert read_line(json.dumps(clean.as_json()).encode()) == clean


@pytest.mark.parametrize("written", ["p@ss:w/rd", "p%40ss:w%2frd", "p%40ss%3Aw%2Frd"])
def test_the_databases_password_is_known_as_it_is_and_as_the_url_has_it(written: str) -> None:
    known = known_secrets({"DATABASE_URL": "postgres://user:p%40ss:w%2frd@db.example/x"})
    told = line(f"password={written}".encode())
    assert "DATABASE_URL's password" in set(find(told, known))
    assert redact(read_line(told), known).body == b"password=[redacted]"


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
def test_a_secret_is_blotted_out_however_it_is_written(hidden: bytes) -> None:
    clean = redact(read_line(line(b"before " + hidden + b" after", headers=(("X-Odd", hidden.decode()),))), SECRETS)
    assert list(find(json.dumps(clean.as_json()).encode(), SECRETS)) == []


@pytest.mark.parametrize("prefix", ["whsec_", "whsk_"])
def test_a_secret_is_known_without_its_prefix_too(prefix: str) -> None:
    """The part behind it is the key, and works as the whole does."""
    bare = base64.b64encode(bytes(range(32))).decode()
    known = known_secrets({"ACME_SECRET": prefix + bare})
    assert set(find(line(f"key={bare}".encode()), known)) == {"ACME_SECRET without its prefix"}
    assert redact(read_line(line(f"key={bare}".encode())), known).body == b"key=[redacted]"


def test_secrets_are_known_by_the_names_of_their_variables() -> None:
    known = known_secrets(
        {
            "CALLBACK_KEYS": "first-key-of-two, second-key-of-two",
            "ACME_SECRET": SECRET,
            "TEMPORAL_API_KEY": "temporal-key",
            "DATABASE_URL": "postgres://user:pass-word-1@db.example/x",
            "PUBLIC_URL": "https://hooks.example.com",
            "SHORT_TOKEN": "abc",
        }
    )
    assert set(known) == {
        "CALLBACK_KEYS 1",
        "CALLBACK_KEYS 2",
        "ACME_SECRET",
        "TEMPORAL_API_KEY",
        "DATABASE_URL's password",
    }


def test_a_long_text_is_read_once() -> None:
    """From each of its characters anew, a mebibyte would take minutes: anybody may send one."""
    began = time.monotonic()
    for text in (b"a" * 2**20, b"a." * 2**19, b"callbacks/" * 2**17, (b"a" * 16 + b"." + b"b" * 42 + b" ") * 2**14):
        blot_tokens(text)
    assert time.monotonic() - began < 5
