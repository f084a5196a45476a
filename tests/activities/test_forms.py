"""The forms of requests in the table of `docs/partners.md`: each is read as the table says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from activities.partners.reading import items_at, read_object, text_at
from activities.partners.received import Received


def sent(body: bytes, media_type: str = "application/json") -> Received:
    return Received(body, (("Content-Type", media_type),))


LINES = b'{"id": "1"}\n{"id": "2"}\n'
PAYOUT = {"payout": {"state": "paid", "payments": ["PM1", "PM2"]}}


def ids_in_lines(received: Received) -> list[str]:
    return [text_at(received.part(line).json(), "id") for line in received.text().splitlines()]


def id_in_a_field(received: Received) -> str:
    return text_at(received.part(text_at(received.form(), "payload")).json(), "id")


def payments_of_a_payout(received: Received) -> list[str]:
    return [received.part(payment).text() for payment in items_at(received.json(), "payout", "payments")]


def file_and_field(received: Received) -> tuple[Any, str]:
    fields = received.multipart()
    return fields["report"], text_at(fields, "id")


BOUNDED = (
    b'--b\r\nContent-Disposition: form-data; name="id"\r\n\r\nw-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="report"; filename="r.pdf"\r\n\r\n%PDF\r\n--b--\r\n'
)


@pytest.mark.parametrize(
    ("read", "received", "expected"),
    [
        (ids_in_lines, sent(LINES, "application/x-ndjson"), ["1", "2"]),
        (id_in_a_field, sent(b"payload=%7B%22id%22%3A%20%22w-1%22%7D", "application/x-www-form-urlencoded"), "w-1"),
        (payments_of_a_payout, sent(json.dumps(PAYOUT).encode()), ["PM1", "PM2"]),
        (file_and_field, sent(BOUNDED, "multipart/form-data; boundary=b"), (b"%PDF", "w-1")),
        (lambda received: received.xml().get("id"), sent(b'<check id="w-1"/>', "text/xml"), "w-1"),
        (lambda received: received.json(lenient=True), sent(b'\xef\xbb\xbf{"n": 1}'), {"n": 1}),
        (lambda received: received.header("X-Check-Id"), Received(b"", (("x-check-id", "w-1"),)), "w-1"),
        (
            lambda received: received.query_fields(),
            Received(b"", query="id=w-1&tag=a&tag=b"),
            {"id": "w-1", "tag": ["a", "b"]},
        ),
        (read_object, Received.of(gzip.compress(b'{"n": 1}'), [("Content-Encoding", "gzip")]), {"n": 1}),
    ],
)
def test_a_form_is_read_as_the_table_says(read: Callable[[Received], Any], received: Received, expected: Any) -> None:
    assert read(received) == expected
