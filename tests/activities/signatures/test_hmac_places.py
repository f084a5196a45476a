"""What `hmac` takes from elsewhere than its headers, plain digests, and secrets in a header, with hostile requests."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.signatures import SCHEMES, ConfigError, Scheme, SignatureError, SignedRequest
from tests.parts.examples import examples
from tests.parts.hmac_requests import BODY, ISO, SECRET, mac, reason, request, scheme
from tests.parts.setups import NOW, URL
from tests.parts.ways import FORM_TYPE, JSON_TYPE, WAYS

# --- the query


def in_query(query: str, signed_url: str = "https://h.example/x?a=1", made: Scheme | None = None) -> str:
    """The reason for which a request is refused whose signature, `S`, is in the query; "" if it is not."""
    made = made or scheme(signature="query:sig", signed="{url}|{body}")
    url = f"https://h.example/x?{query}".replace("S", mac(f"{signed_url}|".encode() + BODY))
    try:
        made.verify(request(url=url), NOW)
    except SignatureError as error:
        return error.reason
    return ""


def test_a_signature_in_the_query_is_left_out_of_the_signed_url() -> None:
    assert in_query("a=1&sig=S") == in_query("sig=S&a=1") == in_query("a=1&%73ig=S") == ""
    assert in_query("sig=S", "https://h.example/x") == ""


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("a=1", "malformed-url"),
        ("a=1&sig", "mismatch"),
        ("a=1&sig=", "mismatch"),
        ("a=1&sig=S&sig=S", "malformed-url"),
        ("a=1&sig=S&s%69g=x", "malformed-url"),
        ("a=1&Sig=S", "malformed-url"),
        ("a=1#sig=S", "malformed-url"),
        ("a=2&sig=S", "mismatch"),
        ("a=1&b=2&sig=S", "mismatch"),
        ("a=%31&sig=S", "mismatch"),
        ("sig=S&", "mismatch"),
        ("a=1&sig=S+", "mismatch"),
        ("a=1&sig=%ff", "malformed-url"),
        ("&".join(["a=1"] * 2000) + "&sig=S", "malformed-url"),
    ],
)
def test_a_signature_in_the_query_is_read_strictly(query: str, wanted: str) -> None:
    assert in_query(query) == wanted


# --- fields of the body


def with_hash(**fields: Any) -> SignedRequest:
    return request(JSON_TYPE, body=json.dumps({"event": fields}).encode())


FIELD: dict[str, Any] = {"signature": "field:event.hash", "signed": "{field:event.type}@{field:event.n}"}


def test_fields_are_texts_whole_numbers_or_truth_values() -> None:
    made = scheme(**FIELD)
    assert not made.covers_body
    for n, text in ((5, "5"), ("5", "5"), (True, "true"), (10**30, f"{10**30}")):
        made.verify(with_hash(type="done", n=n, hash=mac(f"done@{text}")), NOW)
    form = scheme(signature="field:hash", signed="{field:type}@{field:n}")
    form.verify(request(FORM_TYPE, body=f"type=done&n=5&hash={mac('done@5')}".encode()), NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"{}",
        b"[]",
        b'{"event": {"type": "done", "n": 5}}',
        b'{"event": {"type": "done", "n": 5, "hash": null}}',
        b'{"event": {"type": "done", "n": 5, "hash": "S", "hash": "S"}}',
        b'{"event": {"type": "done", "n": 5.0, "hash": "S"}}',
        b'{"event": {"type": "done", "n": null, "hash": "S"}}',
        b'{"event": {"type": "done", "n": [5], "hash": "S"}}',
        b'{"event": {"type": "done", "n": 6, "hash": "S"}}',
        b'{"event": {"type": "done@5", "n": "", "hash": "S"}}',
        b'{"event": ["done", 5, "S"]}',
        b'{"event": {"type": "\xff", "n": 5, "hash": "S"}}',
        b'\xef\xbb\xbf{"event": {"type": "done", "n": 5, "hash": "S"}}',
        b"[" * 100_000,
        b'{"event": {"type": "done", "n": 5, "hash": "S"}, "x": "' + b"x" * 140_000 + b'"}',
        b"event.type=done&event.n=5&event.hash=S",
    ],
)
def test_fields_of_a_body_are_read_strictly(body: bytes) -> None:
    one = request(JSON_TYPE, body=body.replace(b"S", mac("done@5").encode()))
    assert reason(scheme(**FIELD), one) in {"malformed-body", "malformed-id", "mismatch"}


def test_fields_of_a_gzip_body_are_read_strictly() -> None:
    made, zipped = scheme(**FIELD), ("Content-Encoding", "gzip")
    good = with_hash(type="done", n=5, hash=mac("done@5")).body
    made.verify(request(JSON_TYPE, zipped, body=gzip.compress(good)), NOW)
    for body in (good, gzip.compress(good)[:-1], gzip.compress(good + b" " * 140_000), gzip.compress(b"no json")):
        assert reason(made, request(JSON_TYPE, zipped, body=body)) == "malformed-body"


def test_json_within_a_field_of_a_multipart_body_is_read() -> None:
    [way] = [way for way in WAYS if way.who.startswith("Dropbox Sign")]
    text = json.dumps(
        {"event": {"event_time": str(NOW), "event_type": "sent", "event_hash": mac(f"{NOW}sent", key=way.secret())}}
    )
    body = f'--b\r\nContent-Disposition: form-data; name="json"\r\n\r\n{text}\r\n--b--\r\n'.encode()
    one = request(("Content-Type", "multipart/form-data; boundary=b"), body=body)
    assert way.scheme().verify(one, NOW).timestamp == NOW
    for broken in (
        body[:-8],
        body.replace(b'"json"', b'"other"'),
        body.replace(b"sent", b"seen"),
        body.replace(b"{", b"[", 1),
    ):
        assert reason(way.scheme(), replace(one, body=broken))


def test_a_form_is_signed_sorted_and_without_its_signature() -> None:
    made = scheme(signature="field:sign", signed="{form:=&}")
    assert made.covers_body
    good = mac("a=1&b=x y&c=")
    made.verify(request(FORM_TYPE, body=f"c=&b=x+y&sign={good}&a=1".encode()), NOW)
    for body in (
        f"c=&b=x+y&sign={good}&a=2",
        f"c=&b=x+y&sign={good}",
        f"c=&b=x+y&sign={good}&a=1&d=",
        f"c=&b=x+y&sign={good}&a=1&sign={good}",
        f"c=&b=x+y&a=1&Sign={good}",
        "c=&b=x+y&a=1&sign=",
        "c=&b=x+y&a=1",
        f"c=&b=x%2by&sign={good}&a=1",
        f"c=&sign={good}&a=1%26b%3Dx+y",
        f"c=&b=x+y&sign={good}&a%3D1=",
        f"c=&b=x+y&sign={good}&a=1&a=1&a=2",
        f'{{"a": "1", "sign": "{good}"}}',
        "a=%",
    ):
        assert reason(made, request(FORM_TYPE, body=body.encode()))
    assert reason(made, request(JSON_TYPE, body=f"c=&b=x+y&sign={good}&a=1".encode())) == "malformed-body"


def test_repeated_form_fields_keep_their_number_and_order() -> None:
    made = scheme(signature="field:sign", signed="{form:=&}")
    good = mac("a=2&a=1&b=x")
    made.verify(request(FORM_TYPE, body=f"a=2&b=x&a=1&sign={good}".encode()), NOW)
    for body in ("a=1&b=x&a=2", "a=2&b=x&a=1&a=1", "a=2&a=2&b=x&a=1", "a=2&b=x"):
        assert reason(made, request(FORM_TYPE, body=f"{body}&sign={good}".encode())) == "mismatch"


def test_a_body_that_is_not_a_form_is_called_so() -> None:
    made = scheme(signed="{form:=&}")
    with pytest.raises(SignatureError, match="not a form: its Content-Type"):
        made.verify(request(JSON_TYPE, ("X-Sig", mac("a=1")), body=b"a=1"), NOW)


def test_a_large_body_is_read_for_its_time_once_proven() -> None:
    made = scheme(timestamp="field:at")
    body = f'{{"at": {NOW}, "x": "{"x" * 200_000}"}}'
    assert made.verify(request(("X-Sig", mac(body)), body=body.encode()), NOW).timestamp == NOW
    fields = scheme(signed="{field:at}")
    assert reason(fields, request(("X-Sig", mac(str(NOW))), body=body.encode())) == "malformed-body"


def test_many_lists_of_fields_cost_few_hmacs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scheme(header="X-{n}", form="t={timestamp},v1={signature}", separator=" ", signed="{timestamp}.{body}")
    asked: list[object] = []

    def expected(context: object) -> list[str]:
        asked.append(context)
        return ["x"]

    monkeypatch.setattr(made, "_expected", expected)
    many = " ".join([f"t={NOW},v1=y"] * 20)
    assert reason(made, request(*((f"X-{number}", many) for number in range(1, 101)))) == "mismatch"
    assert len(asked) <= 8


# --- templates


@pytest.mark.parametrize(
    ("template", "signed"),
    [
        ("{method} {path}?{query}|{body}", b"POST /callbacks/token?a=1|" + BODY),
        ("{target}{body}", b"/callbacks/token?a=1" + BODY),
        ("https://{host}{path}", b"https://hooks.example.com/callbacks/token"),
        ("{url}{query:a}{body}", URL.encode() + b"1" + BODY),
        ("{body:sha256}", hashlib.sha256(BODY).hexdigest().encode()),
        ("{body:sha512:base64}", base64.b64encode(hashlib.sha512(BODY).digest())),
        ("x\n{body:md5:raw}", b"x\n" + hashlib.md5(BODY).digest()),
        ("{header:X-Nonce}.{body}", b"n-1." + BODY),
    ],
)
def test_a_template_takes_parts_of_the_request(template: str, signed: bytes) -> None:
    one = request(("X-Sig", mac(signed)), ("X-Nonce", "n-1"))
    made = scheme(signed=template)
    made.verify(one, NOW)
    assert made.covers_body == ("{body" in template)
    assert made.covers_url == (template.startswith(("{url}", "{target}", "{method}")))
    if made.covers_body:
        assert reason(made, replace(one, body=BODY + b" ")) == "mismatch"
    if made.covers_url:
        assert reason(made, replace(one, url=f"{URL}&b=1")) == "mismatch"
    if made.needs_url:
        assert reason(made, replace(one, url="")) == "malformed-url"


ID: dict[str, Any] = {
    "signed": "{id}.{timestamp}.{body}",
    "id_header": "X-Id",
    "timestamp_header": "X-Time",
}


def with_id(*ids: str, body: bytes = BODY, now: int = NOW) -> SignedRequest:
    signed = mac(f"{(ids or ('',))[0]}.{now}.".encode() + body)
    return request(*(("X-Id", one) for one in ids), ("X-Time", str(now)), ("X-Sig", signed), body=body)


def test_a_signed_id_is_told_if_the_text_shows_where_it_ends() -> None:
    assert scheme(**ID).verify(with_id("msg_1"), NOW).delivery_id == "msg_1"
    open_ended = scheme(signed="{id}{body}", id_header="X-Id")
    one = request(("X-Id", "a"), ("X-Sig", mac(b"a" + BODY)))
    assert open_ended.verify(one, NOW).delivery_id is None
    beside_time = scheme(**{**ID, "signed": "{id}{timestamp}{body}"})
    one = request(("X-Id", "a"), ("X-Time", str(NOW)), ("X-Sig", mac(f"a{NOW}".encode() + BODY)))
    assert beside_time.verify(one, NOW).delivery_id == "a"


@pytest.mark.parametrize(
    "ids",
    [(), ("a", "a"), ("",), ("a.5",), (".",), ("a b",), ("a\n",), ("x" * 257,), ("\u00e9",), ("a\0",), ("\u212a",)],
)
def test_a_signed_id_is_strict(ids: tuple[str, ...]) -> None:
    assert reason(scheme(**ID), with_id(*ids)) in {"missing-header", "repeated-header", "malformed-id"}


def test_no_text_moves_between_an_id_and_the_body() -> None:
    one = with_id("a", body=f"{NOW}.x".encode(), now=5)
    headers = [("X-Id", "a.5"), ("X-Time", str(NOW)), one.headers[-1]]
    assert reason(scheme(**ID), replace(one, headers=headers, body=b"x")) == "malformed-id"
    last = scheme(signed="{body}.{id}", id_header="X-Id")
    moved = request(("X-Id", "a.b"), ("X-Sig", mac(BODY + b".a.b")))
    assert reason(last, moved) == "malformed-id"
    two = scheme(signed="{header:X-A}|{header:X-B}|{body}")
    moved = request(("X-A", "1|2"), ("X-B", "3"), ("X-Sig", mac(b"1|2|3|" + BODY)))
    assert reason(two, moved) == "malformed-id"


def test_no_zero_moves_from_before_a_time_into_it() -> None:
    made = scheme(signed="{url}{timestamp}", timestamp_header="X-Time")
    signature = ("X-Sig", mac(f"{URL}0{NOW}"))
    made.verify(request(signature, ("X-Time", str(NOW)), url=f"{URL}0"), NOW)
    assert reason(made, request(signature, ("X-Time", f"0{NOW}"))) == "malformed-timestamp"


def test_an_id_after_a_time_is_told() -> None:
    made = scheme(signed="{timestamp}{id}.{body}", id_header="X-Id", timestamp_header="X-Time")
    one = request(("X-Id", "a"), ("X-Time", str(NOW)), ("X-Sig", mac(f"{NOW}a.".encode() + BODY)))
    assert made.verify(one, NOW).delivery_id == "a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Nonce", None),
        ("X-Nonce", "n-2"),
        ("X-Nonce", ""),
        ("X-Nonce", "n-1 "),
        ("X-Nonce", "N-1"),
        ("X-Other", "n-1"),
    ],
)
def test_a_signed_header_is_what_was_signed(name: str, value: str | None) -> None:
    headers = [("X-Sig", mac(b"n-1." + BODY)), *([(name, value)] if value is not None else [])]
    assert reason(scheme(signed="{header:X-Nonce}.{body}"), request(*headers)) in {"missing-header", "mismatch"}
    both = request(*headers[:1], ("X-Nonce", "n-1"), ("x-nonce", "n-1"))
    assert reason(scheme(signed="{header:X-Nonce}.{body}"), both) == "repeated-header"


# --- a plain digest


def digest(*parts: bytes, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, b"".join(parts)).hexdigest()


def test_a_template_with_the_secret_is_a_digest() -> None:
    key = SECRET.encode()
    scheme(signed="{secret}{body}").verify(request(("X-Sig", digest(key, BODY))), NOW)
    scheme(signed="{body}{secret}", algorithm="sha1").verify(
        request(("X-Sig", digest(BODY, key, algorithm="sha1"))), NOW
    )


def continuations() -> list[bytes]:
    """Bodies by which a forger who knows only the secret's length continues a digest."""
    length = len(SECRET) + len(BODY)
    padding = b"\x80" + bytes((55 - length) % 64) + (8 * length).to_bytes(8, "big")
    return [BODY + padding, BODY + padding + b"&paid=1", BODY + padding + b'{"a": 2}', BODY + b"\x80"]


@pytest.mark.parametrize(
    "body", [*continuations(), b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"]
)
def test_a_digest_cannot_be_continued(body: bytes) -> None:
    for template in ("{secret}{body}", "x{secret}|{body}"):
        signed = template.replace("{secret}", SECRET).encode().replace(b"{body}", body)
        assert reason(scheme(signed=template), request(("X-Sig", digest(signed)), body=body)) == "malformed-body"


def test_a_digest_is_not_an_hmac_and_not_of_another_secret() -> None:
    made = scheme(signed="{secret}{body}")
    for text in (mac(BODY), digest(BODY), digest(b"another", BODY), digest(BODY, SECRET.encode()), "", digest(b"")):
        assert reason(made, request(("X-Sig", text))) == "mismatch"


# --- the secret itself


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([], "missing-header"),
        ([("X-Other", SECRET)], "missing-header"),
        ([("X-Token", SECRET), ("X-Token", SECRET)], "repeated-header"),
        ([("X-Token", SECRET), ("x-token", "other")], "repeated-header"),
        ([("X-Token", "")], "mismatch"),
        ([("X-Token", SECRET[:-1])], "mismatch"),
        ([("X-Token", f"{SECRET}x")], "mismatch"),
        ([("X-Token", f" {SECRET}")], "mismatch"),
        ([("X-Token", SECRET.upper())], "mismatch"),
        ([("X-Token", f"Bearer {SECRET}")], "mismatch"),
        ([("X-Token", f"{SECRET},{SECRET}")], "mismatch"),
        ([("X-Token", "\u00e9")], "mismatch"),
        ([("X-Token", f"{SECRET}\0")], "mismatch"),
        ([("X-To\u212aen", SECRET)], "missing-header"),
    ],
)
def test_a_secret_in_a_header_is_compared_whole(headers: list[tuple[str, str]], wanted: str) -> None:
    made = scheme("header-secret", header="X-Token")
    made.verify(request(("x-token", SECRET)), NOW)
    assert reason(made, request(*headers)) == wanted
    assert (made.covers_body, made.covers_time, made.header_is_secret) == (False, False, True)


@pytest.mark.parametrize("options", [{"header": ""}, {"header": "X Y"}, {"header": 5}, {"header": "X", "prefix": "\n"}])
def test_a_senseless_header_secret_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SCHEMES["header-secret"](secrets=[SECRET], **options)
    with pytest.raises(ConfigError):
        scheme("header-secret", ("two words",), header="X")


@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
def test_the_word_before_credentials_has_any_case(kind: str) -> None:
    made = SCHEMES[kind.lower()](secrets=["u:secret-secret" if kind == "Basic" else SECRET])
    [(_, good)] = made.sign(b"", url="", now=NOW, delivery_id="")
    credentials = good.partition(" ")[2]
    for word in (kind, kind.lower(), kind.upper()):
        made.verify(request(("authorization", f"{word} {credentials}")), NOW)
    for text in (
        credentials,
        f"{kind}{credentials}",
        f"{kind}  {credentials}",
        f" {good}",
        f"{good} ",
        f"{kind}\t{credentials}",
        f"{kind} {credentials.swapcase()}",
        f"Digest {credentials}",
        f"{kind}: {credentials}",
        kind,
        f"{kind}, {credentials}",
        good.replace("i", "\u0131"),
    ):
        assert reason(made, request(("Authorization", text))) == "mismatch"


# --- construction


@pytest.mark.parametrize(
    "options",
    [
        {"form": "t={timestamp}", "signed": "{timestamp}.{body}"},
        {"form": "{signature},{signature}"},
        {"form": "{timestamp}{signature}", "signed": "{timestamp}{body}"},
        {"form": "a={timestamp},b={signature};c={x}", "signed": "{timestamp}{body}"},
        {"form": 'a="{timestamp},b={signature}', "signed": "{timestamp}{body}"},
        {"form": "t={timestamp},v1={signature}"},
        {"form": "t={timestamp},v1={signature}", "separator": ",", "signed": "{timestamp}{body}"},
        {"form": "v1={signature", "signed": "body"},
        {"form": "\u00e9{signature}"},
        {"form": "v1={signature}", "prefix": "v1="},
        {"prefix": "{x}"},
        {"separator": "\n"},
        {"header": "X-Sig", "signature": "query:sig"},
        {"header": "", "signature": ""},
        {"header": "A, A"},
        {"header": "A, a"},
        {"header": "A,, B"},
        {"header": "X-{n}, Y"},
        {"header": "X-{n}-{n}"},
        {"header": ",".join(f"X-{number}" for number in range(9))},
        {"header": "", "signature": "cookie:sig"},
        {"header": "", "signature": "query:"},
        {"header": "", "signature": "field"},
        {"header": "", "signature": "header:X Y"},
        {"timestamp": "field:at", "timestamp_header": "X-Time", "signed": "{timestamp}{body}"},
        {"timestamp": "field:at", "signed": "{field:a}"},
        {"timestamp": "query:at"},
        {"timestamp_header": "X-Time", "form": "t={timestamp},v1={signature}", "signed": "{timestamp}{body}"},
        {"time_unit": "us"},
        {"encoding": "base32"},
        {"key": "rot13"},
        {"signed": "{id}.{body}"},
        {"signed": "{secret}"},
        {"signed": ""},
        {"signed": "{body:crc32}"},
        {"signed": "{body:sha256:octal}"},
        {"signed": "{header:X Y}{body}"},
        {"signed": "{cookie:a}{body}"},
        {"signed": "{body}}"},
        {"signed": "{}{body}"},
        {"signed": "{id}{body}", "id_header": "X-Sig"},
        {"signed": "{id}{body}", "id_header": "X Y"},
        {"signed": "{key}{body}"},
    ],
)
def test_options_that_make_no_sense_are_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SCHEMES["hmac"](secrets=[SECRET], **{"header": "X-Sig", **options})


def test_ids_and_field_signatures_that_cannot_work_are_explained() -> None:
    with pytest.raises(ConfigError, match="needs id_header"):
        scheme(signed="{id}.{body}")
    for signed in ("body", "{body:sha256}{field:a}"):
        with pytest.raises(ConfigError, match=r"cannot sign \{body\}"):
            scheme(signature="field:h", signed=signed)


# --- whatever comes


@given(
    way=st.sampled_from([way for way in WAYS if way.name in {"hmac", "header-secret"}]),
    part=st.sampled_from(["header", "body", "url"]),
    at=st.integers(0, 10_000),
    other=st.integers(0, 255),
)
@examples(500)
def test_a_changed_byte_is_refused_or_not_signed(way: Any, part: str, at: int, other: int) -> None:
    made, one = way.scheme(), way.signed()

    def changed(raw: bytes) -> bytes:
        return raw[: at % len(raw)] + bytes([other]) + raw[at % len(raw) + 1 :]

    if part == "header":
        place = at % len(one.headers)
        name, value = one.headers[place]
        pair = (name, changed(value.encode("latin-1")).decode("latin-1"))
        mutated = replace(one, headers=[*one.headers[:place], pair, *one.headers[place + 1 :]])
        is_signed = pair[1] != value and made.header.lower() == name.lower()
    elif part == "body":
        mutated = replace(one, body=changed(one.body))
        is_signed = mutated.body != one.body and made.covers_body and "{form" not in str(way.options)
    else:
        mutated = replace(one, url=changed(one.url.encode()).decode("latin-1"))
        is_signed = mutated.url != one.url and made.covers_url and "{target}" not in str(way.options)
    if is_signed:
        assert reason(made, mutated)
    else:
        with contextlib.suppress(SignatureError):
            made.verify(mutated, NOW)


@given(
    way=st.sampled_from([way for way in WAYS if way.name == "hmac"]),
    text=st.text(max_size=60) | st.sampled_from(["t=1,v1=", "{", "\ud800", "=,=", f"t={NOW},v1=", ISO]),
    url=st.text(max_size=40) | st.sampled_from(["https://[/?sig=%", "", None, "?signature=%ff"]),
    body=st.binary(max_size=60) | st.sampled_from([b'{"event":{"hash":"\\ud800"}}', b"json=%ff", b"--b"]),
)
@examples(500)
def test_junk_raises_a_signature_error_and_nothing_else(way: Any, text: str, url: Any, body: bytes) -> None:
    signed = way.signed()
    headers = [(name, text if at == 0 else value) for at, (name, value) in enumerate(reversed(signed.headers))]
    with pytest.raises(SignatureError):
        way.scheme().verify(SignedRequest("POST", url, headers, body), NOW)
