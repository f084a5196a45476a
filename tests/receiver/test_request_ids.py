"""The router's id of a request, as a fact of its line in the log."""

from __future__ import annotations

import pytest

from receiver.request_ids import HEADERS, request_id_of

HEROKU = "ab8ac13c-3e7c-4a5f-8b3e-1c2d3e4f5a6b"
AWS = "Root=1-67891233-abcdef012345678912345678;Self=1-67891234-12456789abcdef012345678"


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("id_", [HEROKU, AWS, "105445aa7843bc8bf206b12000100000/1;o=1", "7d1c2f-AMS", "x" * 200])
def test_every_routers_id_is_taken(name: str, id_: str) -> None:
    assert request_id_of([("host", "x"), (name, id_)]) == id_


@pytest.mark.parametrize("id_", ["", "a b", "a\tb", 'a"b', "a\x1b[2J", "é", "x" * 201, "a,b"])
def test_what_is_not_well_formed_is_ignored(id_: str) -> None:
    assert request_id_of([("x-request-id", id_)]) == ""
    assert request_id_of([("x-request-id", id_), ("cf-ray", "7d1c2f-AMS")]) == "7d1c2f-AMS"


def test_a_header_that_is_sent_twice_is_ignored() -> None:
    assert request_id_of([("x-request-id", "a"), ("x-request-id", "b")]) == ""
    assert request_id_of([("x-request-id", "a"), ("x-request-id", "b"), ("x-request-id", "c")]) == ""


def test_the_first_of_the_list_is_taken_whatever_their_order() -> None:
    assert request_id_of([("traceparent", "00-1-2-01"), ("x-request-id", "a")]) == "a"
    assert request_id_of([("x-forwarded-for", "1.2.3.4")]) == ""
