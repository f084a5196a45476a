"""Secrets in captured bodies are found in every spelling, and nothing else is."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from receiver.deliveries.delivery import read_line
from tests.parts.captured_secrets import HIDDEN, SECRET, SECRETS, find, line, redact


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
def test_a_secret_is_found_in_a_body_and_beside_it(hidden: bytes) -> None:
    assert find(line(b"before " + hidden + b" after"), SECRETS) == ["ACME_SECRET"]
    assert find(b"any text " + hidden, SECRETS) == ["ACME_SECRET"]
    assert list(find(line(b"{}", headers=(("X-Odd", hidden.decode()),)), SECRETS)) == ["ACME_SECRET"]


def test_a_secret_is_found_in_base64_of_several_lines() -> None:
    hidden = base64.encodebytes(b"x" * 50 + SECRET.encode() + b"y" * 99)
    assert find(line(hidden), SECRETS) == ["ACME_SECRET"]
    assert redact(read_line(line(hidden)), SECRETS).body is None


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_body_that_hides_a_secret_in_base64_is_left_out(times: int) -> None:
    hidden = SECRET.encode()
    for _ in range(times):
        hidden = base64.b64encode(b"before " + hidden + b" after it")
    one = read_line(line(b"x " + hidden + b" y", headers=(("X-Odd", hidden.decode()), ("X-Other", "kept"))))
    clean = redact(one, SECRETS)
    assert (clean.body, clean.body_size, clean.replayable) == (None, one.body_size, False)
    assert clean.headers == (("X-Odd", "[redacted]"), ("X-Other", "kept"))


AROUND = {
    "other pieces of a path": (b"https://shop.example/my-orders/12/", b"/some_more/rest-of/path"),
    "signs of the other alphabet": (b"a_b-c/d+e/", b"/f-g_h"),
    "JSON's escapes": (b"https:\\/\\/shop.example\\/my-orders\\/12\\/", b"\\/rest"),
    "percent-encoding": (b"https%3A%2F%2Fshop.example%2Fmy-orders%2F12%2F", b"%2Frest"),
    "lines of their own": (b"A" * 44 + b"\r\n", b"\r\n" + b"B" * 44 + b"\r\n" + b"next-line/of words"),
    "lines that are indented": (b"A" * 44 + b"\n    ", b"\n    " + b"b-_/" * 11),
}


@pytest.mark.parametrize(("before", "after"), AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("hidden", [SECRET.encode(), quote(SECRET, safe="").encode()])
def test_not_a_byte_around_a_secret_is_changed(hidden: bytes, before: bytes, after: bytes) -> None:
    clean = redact(read_line(line(before + hidden + after)), SECRETS).body
    assert clean == before + b"[redacted]" + after


@pytest.mark.parametrize(
    "secret", ['quo"te\\back/slash', "p\xe4ssword-long", "\u20ac-uro-sign", "a-secret, with comma"]
)
def test_a_secret_is_redacted_wherever_json_escapes_it(secret: str) -> None:
    body = json.dumps({"k": secret}).replace("/", "\\/").encode()
    headers = (("X-Utf8", secret.encode().decode("latin-1")),)
    for one in (
        line(b"{}", headers=headers),
        line(b"{}", target=f"/callbacks/{{run/1/1}}?k={secret}"),
        line(body),
        line(json.dumps({"k": secret}, ensure_ascii=False).encode()),
    ):
        assert set(find(one, {"A_SECRET": secret})) == {"A_SECRET"}
        clean = redact(read_line(one), {"A_SECRET": secret})
        assert find(json.dumps(clean.as_json()).encode(), {"A_SECRET": secret}) == []


@pytest.mark.parametrize("indent", [None, 2])
def test_bodies_in_any_json_document_are_searched(indent: int | None) -> None:
    hidden = json.loads(line(base64.b64encode(base64.b64encode(SECRET.encode()))))
    for document in (hidden, [hidden, hidden], {"found": [hidden]}):
        assert find(json.dumps(document, indent=indent).encode(), SECRETS) == ["ACME_SECRET"]


ODD = {
    "percent in JSON": ('50%25off"paSSword', json.dumps({"k": '50%25off"paSSword'})),
    "percent in JSON, a code point": ("pa%AEss\u20acword9", json.dumps({"k": "pa%AEss\u20acword9"})),
    "backslash percent-encoded": ("C:\\new dir pass", quote("C:\\new dir pass", safe="\\")),
    "JSON's escape in a form": ("C:\\new%40dir", quote_plus(json.dumps({"k": "C:\\new%40dir"}))),
    "blanks in a form": ("my secret+pass word", "k=" + quote_plus("my secret+pass word")),
}


@pytest.mark.parametrize(("secret", "written"), ODD.values(), ids=ODD)
def test_a_secret_that_looks_escaped_itself_is_found(secret: str, written: str) -> None:
    found = line(written.encode())
    assert find(found, {"A": secret}) == ["A"]
    assert b"[redacted]" in (redact(read_line(found), {"A": secret}).body or b"")


@pytest.mark.parametrize("document", ["{}", '["a", {}]', '{"k": {}}', "key: {}"])
def test_a_secret_that_is_json_is_found_in_json(document: str) -> None:
    account = '{"type": "svc", "private_key": "abcdefgh"}'
    assert find(document.replace("{}", account).encode(), {"GOOGLE_KEY": account}) == ["GOOGLE_KEY"]


def test_a_number_may_be_a_secret() -> None:
    assert find(b'{"pin": 1234567890}', {"PIN_KEY": "1234567890"}) == ["PIN_KEY"]


def test_a_body_without_secrets_passes() -> None:
    assert find(line(b'{"status": "succeeded", "about": "callbacks"}'), SECRETS) == []
