"""A delivery's JSON form: read back as it was written, whatever was in it, and refused where it is none."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.deliveries.delivery import Delivery, NotADelivery, digest, new_id, read_document, read_line
from tests.parts.deliveries import delivery

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(max_codepoint=255, blacklist_characters="\0\r\n"))


@given(st.binary(), st.lists(st.tuples(NAMES, VALUES)), TEXTS)
def test_it_is_read_back_as_it_was(body: bytes, headers: list[tuple[str, str]], workflow_id: str) -> None:
    one = delivery(
        body=body, body_size=len(body), body_digest=digest(body), headers=tuple(headers), workflow_id=workflow_id
    )
    assert read_line(json.dumps(one.as_json()).encode()) == one


def test_members_of_a_later_version_are_ignored() -> None:
    one = delivery()
    assert Delivery.from_json({**one.as_json(), "later": {"x": 1}}) == one


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": "another"},
        {"body": "not base64!"},
        {"body": "AAAA"},
        {"body": 7},
        {"stage": "1"},
        {"stage": True},
        {"stage": -1},
        {"received_at": 1e300},
        {"headers": [["only a name"]]},
        {"headers": [["a", 1]]},
        {"headers": {"a": "b"}},
        {"headers": {"ab": "x"}},
        {"headers": ["ab"]},
        {"headers": [["a", "b", "c"]]},
        {"fate": "odd"},
        {"id": None},
        {"partner": "a\0b"},
        {"received_at": 2.0**40},
        {"stage": 2**40},
        {"headers": [["a name", "b"]]},
        {"headers": [["X-\u20ac", "b"]]},
        {"headers": [["X", "\u20ac"]]},
        {"headers": [["X", "a\rb"]]},
        {"headers": [["X", "a\n"]]},
        {"headers": [["X", "a\0b"]]},
        {"headers": [["X\n", "b"]]},
        {"id": ""},
        {"method": ""},
        {"method": "POST\r\n"},
        {"method": "PO ST"},
    ],
)
def test_what_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(NotADelivery):
        Delivery.from_json({**delivery().as_json(), **wrong})


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b"\xff", b'{"form": "stagehook.delivery.v1"}'])
def test_lines_that_are_none_are_refused(line: bytes) -> None:
    with pytest.raises(NotADelivery):
        read_line(line)


def test_a_document_is_a_delivery_or_a_list_of_some() -> None:
    ones = [delivery(), delivery()]
    assert read_document(json.dumps(ones[0].as_json(), indent=2).encode()) == ones[:1]
    assert read_document(json.dumps([one.as_json() for one in ones]).encode()) == ones
    with pytest.raises(NotADelivery):
        read_document(json.dumps([[ones[0].as_json()]]).encode())


def test_ids_sort_by_time() -> None:
    assert new_id(1.0) < new_id(1.5) < new_id(1e9)


def test_a_forked_process_makes_ids_of_its_own() -> None:
    """Ids come from the process's own chance: a copy of it would make the same ids."""
    script = """
import os, sys
from receiver.deliveries.delivery import new_id
if child := os.fork():
    os.waitpid(child, 0)
sys.stdout.write(new_id(1.0) + " ")
sys.stdout.flush()
os._exit(0)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(said)) == 2
