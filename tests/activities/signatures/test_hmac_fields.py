"""HMAC signatures in the query, and over fields of the body."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from activities.signatures import Scheme, SignatureError, SignedRequest
from tests.parts.hmac_requests import BODY, mac, reason, request, scheme
from tests.parts.setups import NOW
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
