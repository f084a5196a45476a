"""A partner's request, and the readers of its body: strict, or lenient where two readers could differ."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.partners.reading import read_object, text_at
from activities.partners.received import MAX_DECODED_BYTES, MAX_FIELDS, MAX_GZIP_MEMBERS, Received, Unreadable
from activities.strict_json import REPEATED


def typed(body: bytes, content_type: str = "") -> Received:
    return Received(body, (("content-type", content_type),) if content_type else ())


# --- headers


def test_headers_are_found_in_any_case_and_kept_when_repeated() -> None:
    received = Received(b"", (("X-Event", "a"), ("x-event", "b"), ("X-Id", "1")))
    assert received.headers_named("X-EVENT") == ["a", "b"]
    assert received.header("x-id") == "1"
    assert received.header("x-none") == ""
    with pytest.raises(Unreadable, match="repeated"):
        received.header("x-event")


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/json, application/json", "application/json"),
        ("application/json; charset=utf-8, application/json; charset=utf-8", "application/json"),
        ("application/cloudevents+json", "application/cloudevents+json"),
        ("", ""),
    ],
)
def test_the_media_type_is_the_bare_one(content_type: str, media_type: str) -> None:
    assert typed(b"", content_type).media_type == media_type


def test_two_different_media_types_are_neither() -> None:
    assert typed(b"", "application/json, text/plain").media_type not in {"application/json", "text/plain"}


# --- text and JSON


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("body", "content_type", "value"),
    [
        (BOM + b'{"a": 1}', "application/json", {"a": 1}),
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=iso-8859-1", {"a": "é"}),
        ('{"a": 1}'.encode("utf-16"), "application/json; charset=utf-16", {"a": 1}),
        (b'{"a": 1, "b": {"x": 1, "x": 2}}', "application/json", {"a": 1, "b": {"x": REPEATED}}),
        (rb'{"a": 1, "note": "\ud83d"}', "application/json", {"a": 1, "note": "\ud83d"}),
    ],
)
def test_lenient_json_reads_what_strict_json_refuses(body: bytes, content_type: str, value: Any) -> None:
    received = typed(body, content_type)
    assert received.json(lenient=True) == value
    with pytest.raises(Unreadable):
        received.json()


@pytest.mark.parametrize("body", [b'{"id": "a", "id": "b"}', rb'{"id": "\ud83d"}', b'{"id": NaN}', b'{"id": null}'])
def test_a_flaw_in_a_field_that_the_file_reads_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        text_at(Received(body).json(lenient=True), "id")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100 + b"]" * 100, b"[" * 200_000, b"\xff", b'{"a": ' + b"9" * 5000 + b"}"]
)
@pytest.mark.parametrize("lenient", [False, True])
def test_what_is_not_json_is_unreadable(body: bytes, lenient: bool) -> None:
    with pytest.raises(Unreadable):
        Received(body).json(lenient=lenient)


def test_an_unknown_charset_is_unreadable() -> None:
    for charset in ("klingon", "zip", "undefined", "idna", "unicode_escape", "utf-7", "rot13"):
        with pytest.raises(Unreadable):
            typed(b"{}", f"application/json; charset={charset}").json(lenient=True)


def test_an_object_is_read_from_a_request_alone() -> None:
    assert read_object(Received(b'{"a": 1}')) == {"a": 1}
    with pytest.raises(Unreadable, match="not a JSON object"):
        read_object(Received(b"[]"))


# --- forms


def test_a_form_has_text_and_lists_of_repeated_fields() -> None:
    form = Received(b"id=tr_1&item=a&item=b&empty=").form()
    assert form == {"id": "tr_1", "item": ["a", "b"], "empty": ""}
    assert text_at(form, "id") == "tr_1"
    with pytest.raises(Unreadable):
        text_at(form, "item")


def test_the_query_is_read_as_a_form() -> None:
    assert Received(b"", query="id=1&mode=test%20run").query_fields() == {"id": "1", "mode": "test run"}
    assert Received(b"").query_fields() == {}


@pytest.mark.parametrize("body", [b"id", b"id=%ff", b"\xff=1", b"&".join([b"a=1"] * (MAX_FIELDS + 1))])
def test_what_is_not_a_form_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        Received(body).form()


def multipart(*fields: str, boundary: str = "xYzZY", end: str = "--") -> Received:
    lines = [f"--{boundary}\r\nContent-Disposition: form-data; {field}\r\n" for field in fields]
    return typed(("".join(lines) + f"--{boundary}{end}\r\n").encode(), f'multipart/form-data; boundary="{boundary}"')


def test_a_multipart_body_has_text_files_and_lists() -> None:
    received = multipart(
        'name="event"\r\n\r\ndelivered',
        'name="to"\r\n\r\na',
        'name="to"\r\n\r\nb',
        'name="pdf"; filename="a.pdf"\r\n\r\n%PDF',
    )
    assert received.multipart() == {"event": "delivered", "to": ["a", "b"], "pdf": b"%PDF"}


def _field_in(charset: str, value: bytes) -> Received:
    head = f'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset={charset}\r\n\r\n'
    return typed(head.encode() + value + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")


@pytest.mark.parametrize("charset", ["klingon", "hex", "unicode_escape", "idna", "punycode", "utf-7"])
@pytest.mark.parametrize("lenient", [False, True])
def test_a_multipart_field_in_an_unknown_charset_is_unreadable(charset: str, *, lenient: bool) -> None:
    """Some of Python's codecs take minutes for a mebibyte."""
    with pytest.raises(Unreadable, match="charset"):
        _field_in(charset, b"abc-").multipart(lenient=lenient)


def test_a_multipart_field_is_decoded_in_its_own_charset() -> None:
    field = _field_in("iso-8859-1", "é".encode("latin-1"))
    assert field.multipart(lenient=True) == {"a": "é"}
    with pytest.raises(Unreadable, match="charset"):
        field.multipart()


@pytest.mark.parametrize(
    "received",
    [
        typed(b"", "multipart/form-data; boundary=x"),
        typed(b"--x\r\n", "multipart/form-data"),
        multipart('name="a"\r\n\r\nb', end=""),
        multipart("\r\n\r\nb"),
        multipart('name="a"\r\n\r\n\xff'.encode().decode("latin-1"), boundary="y" * 5000),
        multipart(*['name="a"\r\n\r\nb'] * (MAX_FIELDS + 1)),
        typed(b"a" * 100, 'multipart/form-data; boundary=""'),
    ],
    ids=["empty", "no boundary", "no end", "no name", "long boundary", "too many parts", "empty boundary"],
)
def test_what_is_not_multipart_is_unreadable(received: Received) -> None:
    with pytest.raises(Unreadable):
        received.multipart()


# --- XML


ENVELOPE = b"""<?xml version="1.0" encoding="utf-8"?>
<Info xmlns="http://www.docusign.example/API/3.0"><EnvelopeStatus><Status>Completed</Status></EnvelopeStatus></Info>"""


def test_xml_is_read_by_path_in_any_namespace() -> None:
    assert text_at(Received(ENVELOPE).xml(), "EnvelopeStatus", "Status") == "Completed"
    with pytest.raises(Unreadable, match=r"EnvelopeStatus\.Id"):
        text_at(Received(ENVELOPE).xml(), "EnvelopeStatus", "Id")


LAUGHS = b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><a>&b;</a>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a>",
        LAUGHS,
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        b"<!DOCTYPE a><a/>",
        b"<a>" * 1000 + b"</a>" * 1000,
        b"<a>" * 150_000 + b"</a>" * 150_000,
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        b"<a>\xff</a>",
    ],
    ids=["empty", "open", "entities", "external DTD", "external entity", "DTD", "deep", "deepest", "charset", "bytes"],
)
def test_hostile_xml_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        Received(body).xml()


# --- gzip


def test_many_joined_gzip_files_are_unreadable() -> None:
    """Each copies the rest of the body: tens of thousands would hold up every other request for seconds."""
    zipped = (("content-encoding", "gzip"),)
    joined = gzip.compress(b"{}") + gzip.compress(b"") * (MAX_GZIP_MEMBERS - 1)
    assert Received.of(joined, zipped).json() == {}
    with pytest.raises(Unreadable, match="joins more than"):
        Received.of(joined + gzip.compress(b""), zipped)


ZIPPED = (("Content-Encoding", "gzip"),)


def test_a_compressed_body_is_read_as_it_was_before() -> None:
    body = gzip.compress(b'{"a"') + gzip.compress(b": 1}")
    assert Received.of(body, ZIPPED).json() == {"a": 1}
    assert Received.of(b'{"a": 1}', ()).json() == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        lambda: b"{}",
        lambda: gzip.compress(b"{}")[:-4],
        lambda: gzip.compress(b"{}") + b"x",
        lambda: gzip.compress(b" " * (MAX_DECODED_BYTES + 1)),
        lambda: gzip.compress(b" " * MAX_DECODED_BYTES) + gzip.compress(b"{}"),
        lambda: gzip.compress(b"x" * 100_000_000),
    ],
    ids=["plain", "cut", "more", "over the limit", "over it in two", "bomb"],
)
def test_a_body_that_does_not_decode_is_unreadable(body: Callable[[], bytes]) -> None:
    """Made here, for each process of the tests reads this file."""
    with pytest.raises(Unreadable):
        Received.of(body(), ZIPPED)


# --- parts


def test_a_part_reads_its_own_value() -> None:
    whole = Received(b'{"events": [{"id": 1}]}', (("X-Id", "1"),))
    [event] = [whole.part(value) for value in whole.json()["events"]]
    assert event.json() == {"id": 1}
    assert event.header("x-id") == "1"
    assert whole.part(b'{"id": 2}').json() == {"id": 2}
    assert whole.part("plain").text() == "plain"
    assert text_at(Received(b"<l><e><id>3</id></e></l>").part(Received(b"<e><id>3</id></e>").xml()).xml(), "id") == "3"
    with pytest.raises(Unreadable):
        event.text()


TYPES = ["", "a/b; charset=utf-16", "a/b; charset=\x00", "multipart/form-data; boundary=x"]


@given(body=st.binary(max_size=200), content_type=st.sampled_from(TYPES))
def test_no_body_raises_anything_but_unreadable(body: bytes, content_type: str) -> None:
    received = typed(body, content_type)
    for read in (received.json, received.form, received.multipart, received.text):
        for lenient in (False, True):
            with contextlib.suppress(Unreadable):
                read(lenient=lenient)
    with contextlib.suppress(Unreadable):
        received.xml()


@given(body=st.binary(min_size=20, max_size=200))
def test_no_message_quotes_the_body(body: bytes) -> None:
    for read in (Received(body).json, Received(body).form, Received(body).text, Received(body).xml):
        try:
            read()
        except Unreadable as error:
            assert body.decode("latin-1") not in str(error)  # noqa: PT017
