"""An export holds no known secret, however it is written; `check` finds every one."""

from __future__ import annotations

import base64
import json
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.callback_urls import CallbackURLs, Claims
from activities.known_secrets import known_secrets
from activities.redaction.secrets import look_for
from activities.redaction.text import TOO_MUCH, WORK_PER_BYTE, Found, search
from activities.redaction.tokens import redact_tokens
from receiver.deliveries import export
from receiver.deliveries.delivery import Delivery, digest, read_line
from tests.parts.deliveries import delivery
from tests.support import KEY

SECRET = "s3cr3t/with+odd=chars?"
SECRETS = {"ACME_SECRET": SECRET}
URLS = CallbackURLs("https://hooks.example.com", [KEY])
URL = URLS.issue(Claims("run", "chain", 1, 1, "bank", 1, 2))
PACKED = URLS.issue(Claims("run" * 20, "chain", 1, 1, "bank", 1, 2)).rpartition("/")[2]
TOKEN = URL.rpartition("/")[2]
SHORT_URL = URLS.issue(Claims("run", "01a20379-1751-78ce-ac76-c1d64654450f", 1, 1, "bank", 1, 2), 2)
SHORT = SHORT_URL.rpartition("/")[2]
JWT = ".".join(
    base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b'{"alg": "HS256"}', b'{"sub": "ada"}', b"s" * 32)
)
HIDDEN = {
    "plain": SECRET.encode(),
    "percent-encoded": quote(SECRET, safe="").encode(),
    "every character percent-encoded": "".join(f"%{byte:02x}" for byte in SECRET.encode()).encode(),
    "base64": base64.b64encode(SECRET.encode()),
    "base64 behind one byte": base64.b64encode(b"x" + SECRET.encode() + b"yz"),
    "base64 behind two bytes": base64.b64encode(b"xy" + SECRET.encode() + b"z"),
    "base64 for URLs": base64.urlsafe_b64encode(b"??>" + SECRET.encode()),
    "base64 in base64": base64.b64encode(b"x" + base64.b64encode(b"yz" + SECRET.encode())),
    "base64 of it percent-encoded": base64.b64encode(quote(SECRET, safe="").encode()),
    "JSON's escapes": SECRET.replace("/", "\\/").replace("+", "\\u002b").encode(),
    "percent-encoded twice": quote(quote(SECRET, safe=""), safe="").encode(),
    "base64 with its slashes escaped": base64.b64encode(b"???" + SECRET.encode()).replace(b"/", b"\\/"),
}


def find(text: bytes, secrets: Mapping[str, str]) -> list[str]:
    """The names of what a text must not hold."""
    return list(dict.fromkeys(found.name for found in search(text, look_for(secrets))))


def redact(one: Delivery, secrets: Mapping[str, str]) -> Delivery:
    return export.redact(one, look_for(secrets))


def line(body: bytes, **changes: Any) -> bytes:
    one = delivery(body=body, body_size=len(body), body_digest=digest(body), **changes)
    return json.dumps(one.as_json()).encode()


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


def test_no_credential_is_exported_whoever_recorded_it() -> None:
    headers = (("Authorization", "Basic YTpi"), ("X-Passcode", "1234"), ("X-Signature", "kept"))
    assert redact(delivery(headers=headers), {}).headers == (("X-Signature", "kept"),)


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For",
        "X-Cluster-Client-IP",
        "X-Envoy-External-Address",
        "Fastly-Client-IP",
        "X-Vercel-Forwarded-For",
        "X-Original-Forwarded-For",
    ],
)
def test_no_address_is_exported_whatever_router_wrote_it(name: str) -> None:
    assert redact(delivery(headers=((name, "192.0.2.8"),)), {}).headers == ()


@pytest.mark.parametrize("written", ["p@ss:w/rd", "p%40ss:w%2frd", "p%40ss%3Aw%2Frd"])
def test_the_databases_password_is_known_plain_and_encoded(written: str) -> None:
    known = known_secrets({"DATABASE_URL": "postgres://user:p%40ss:w%2frd@db.example/x"})
    told = line(f"password={written}".encode())
    assert set(find(told, known)) == {"DATABASE_URL's password"}
    assert redact(read_line(told), known).body == b"password=[redacted]"


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
def test_a_secret_is_blotted_out_however_it_is_written(hidden: bytes) -> None:
    clean = redact(read_line(line(b"before " + hidden + b" after", headers=(("X-Odd", hidden.decode()),))), SECRETS)
    assert find(json.dumps(clean.as_json()).encode(), SECRETS) == []


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
            "ACME_PASSWD": "a1b2c3,d4e5f6",
            "REDIS_URL": "redis://user:pass-word-2@redis.example",
            "REPLICA_URL": "postgres://user@db.example/x?sslmode=require&password=pass%2Fword-3",
            "TEMPORAL_API_KEY": "temporal-key",
            "DATABASE_URL": "postgres://user:pass-word-1@db.example/x",
            "PUBLIC_URL": "https://hooks.example.com",
            "SHORT_TOKEN": "abc",
        }
    )
    assert known == {
        "CALLBACK_KEYS": "first-key-of-two, second-key-of-two",
        "CALLBACK_KEYS 1": "first-key-of-two",
        "CALLBACK_KEYS 2": "second-key-of-two",
        "ACME_SECRET": SECRET,
        "ACME_PASSWD": "a1b2c3,d4e5f6",
        "REDIS_URL's password": "pass-word-2",
        "REPLICA_URL's password in its query": "pass/word-3",
        "TEMPORAL_API_KEY": "temporal-key",
        "DATABASE_URL's password": "pass-word-1",
    }


def test_json_without_commas_is_read_and_a_hint_is_not_a_secret() -> None:
    told = {"KEY_FILE": "/run/keys/acme", "TOKEN_TYPE": "service_account", "SECRET_KEY_ID": "key-number-one"}
    known = known_secrets({"GOOGLE_KEY": '{"type": "svc", "private_key": "abcdefgh"}', **told})
    assert list(known) == ["GOOGLE_KEY"]


@pytest.mark.parametrize("secret", ["redacted", "[redacted]"])
def test_a_secret_that_stands_in_its_own_place_destroys_no_body(secret: str) -> None:
    known = known_secrets({"A_SECRET": secret, "B_SECRET": SECRET})
    assert redact(read_line(line(f"x {secret} {SECRET}".encode())), known).body == f"x {secret} [redacted]".encode()


@pytest.mark.parametrize("secret", ["12345678", "11111111", "00000000", "1000000000"])
def test_a_number_in_a_secrets_place_leaves_json_valid(secret: str) -> None:
    hidden = json.dumps({"pin": int(secret), "text": secret}).encode()
    clean = redact(read_line(line(hidden)), {"PIN_KEY": secret})
    assert set(json.loads(clean.body or b"")) == {"pin", "text"}
    assert find(json.dumps(clean.as_json()).encode(), {"PIN_KEY": secret}) == []


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


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"document": base64.b64encode(random.Random(1).randbytes(700_000)).decode()}).encode(),
        json.dumps(
            [{"id": f"{n:032x}", "url": f"https://shop.example/a%20b/{n}", "say": 'a "b"\n'} for n in range(7000)]
        ),
    ],
    ids=["a document", "many records"],
)
def test_a_large_body_of_a_partner_stays(body: bytes | str) -> None:
    body = body if isinstance(body, bytes) else body.encode()
    assert redact(read_line(line(body)), SECRETS).body == body


def test_the_headers_of_a_collector_are_secrets() -> None:
    """As they are written, percent-encoded, and as they are sent, without the scheme."""
    variables = {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20aGVsbG8%3D, x-team=s3cret-team-key,short=1"}
    assert set(known_secrets(variables).values()) == {"aGVsbG8=", "Bearer%20aGVsbG8%3D", "s3cret-team-key"}
    found = known_secrets({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:p4ss-word@collector.example"})
    assert list(found.values()) == ["p4ss-word"]
