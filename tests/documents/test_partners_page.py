"""The page on partners explains every public name, and its examples work."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from activities.environment import Environment
from activities.handshakes import HANDSHAKES, Handshake
from activities.partners.events import NOT_OURS, Event
from activities.partners.partner import Partner, handshake
from activities.partners.received import Part, Received
from activities.signatures import SCHEMES
from tests.parts.pages import ADDING, CALL, ROOT, blocks, python_under
from workflows.contract import Answer, Receipt, Stage, StageCall

HABITS = sorted((ROOT / "tests/activities/habits").glob("[a-z]*.py"))
A_CALLBACK_URL = "https://hooks.test/callbacks/a-token.of-ours"


def functions_under(heading: str) -> dict[str, Any]:
    """The functions of a section of the partners' page."""
    names: dict[str, Any] = {}
    [block] = python_under(ADDING, heading)
    exec(block, names)
    return names


def check(state: str, **more: object) -> Received:
    return Received(json.dumps({"type": "check.ended", "check": {"state": state, "number": "HRB 1", **more}}).encode())


def test_kind_two_sends_the_callback_url_and_reads_it_back() -> None:
    file = functions_under("Kind two: one URL, and our text comes back")
    environment = Environment({"ACME_URL": "https://api.acme.example", "ACME_KEY": "secret", "ACME_SECRET": "shared"})
    partner = file["partner"](environment)
    assert partner.has_one_url
    metadata = json.loads(partner.build_call(CALL, A_CALLBACK_URL).content)["metadata"]
    found = Event(Answer("succeeded", data={"register_number": "HRB 1"}), token=A_CALLBACK_URL)
    assert file["read_event"](check("found", metadata=metadata)) == found
    at_work = Event(Answer("progress", message="searching"), token=A_CALLBACK_URL)
    assert file["read_event"](check("searching", metadata=metadata)) == at_work
    assert file["read_event"](check("found", metadata={})) is NOT_OURS


def test_kind_three_reads_one_id_from_answer_and_event() -> None:
    file = functions_under("Kind three: one URL, and only its own id comes back")
    receipt = file["read_receipt"](httpx.Response(201, json={"check": {"id": "c-1"}}))
    event = file["read_event"](check("missing", id="c-1"))
    assert receipt.reference == event.reference == "c-1"
    assert event.answer.status == "failed"
    assert file["read_event"](Received(b'{"type": "invoice.paid"}')) is NOT_OURS


def test_a_request_is_split_into_its_events() -> None:
    file = functions_under("Several events in a request")
    ours = {"links": {"payment": "PM1"}}
    body = {"events": [{**ours, "action": "confirmed"}, {**ours, "action": "created"}, {"links": {"mandate": "MD1"}}]}
    parts = file["split"](Received(json.dumps(body).encode()))
    assert [file["read_event"](part) for part in parts] == [
        Event(Answer("succeeded", data={"payment": "PM1"}), reference="PM1"),
        Event(Answer("progress", message="created"), reference="PM1"),
        NOT_OURS,
    ]


@pytest.mark.parametrize("described", [Partner, StageCall, Receipt, Received, Part, Event, Answer, Stage])
def test_the_partners_page_explains_every_public_field(described: type[Any]) -> None:
    section = ADDING.partition(f"### `{described.__name__}`, of `{described.__module__}`\n")[2].partition("\n###")[0]
    explained = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert sorted(explained) == sorted(told_of(described))


def told_of(described: type[Any]) -> set[str]:
    """The fields of a recorded type, or of a partner; fields and methods of what a file reads, a part's own ones."""
    if described in {Received, Part}:
        inherited = {field.name for base in described.__bases__ if is_dataclass(base) for field in fields(base)}
        public = {name for name in vars(described) if not name.startswith("_")}
        return (public | {field.name for field in fields(described)}) - inherited
    return {field.name for field in fields(described)}


@pytest.mark.parametrize("file", HABITS, ids=lambda file: file.stem)
def test_the_partners_page_names_what_seven_files_import(file: Path) -> None:
    shown = {name for block in blocks(ADDING, "python") for name in imported(block)}
    used = imported(file.read_text())
    assert len(used) > 5
    assert {(module, name) for module, name in used - shown if not is_named(module, name)} == set()


def imported(code: str) -> set[tuple[str, str]]:
    """What code of ours it imports, each with its module."""
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if str(node.module).startswith(("activities", "workflows"))]
    return {(str(node.module), alias.name) for node in own for alias in node.names}


def is_named(module: str, name: str) -> bool:
    return f"`{module}`" in ADDING and re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", ADDING) is not None


def test_the_partners_page_names_every_scheme_and_handshake() -> None:
    words = set(re.findall(r"`([a-z0-9-]+)`", ADDING))
    assert {*SCHEMES, *HANDSHAKES} - words == set()


@pytest.mark.parametrize("line", re.findall(r"`handshake=([Hh]andshake\([^`]+\)|\[[^`]+\])`", ADDING))
def test_each_line_of_a_handshake_makes_it(line: str) -> None:
    names = ("VERIFY_TOKEN", "TOPIC", "SECRET", "CLIENT_ID", "ORIGIN", "ENROL", "CONFIRMATION")
    environment = Environment({f"ACME_{name}": "some-text-from-a-dashboard" for name in names})
    known = {"Handshake": Handshake, "handshake": handshake, "environment": environment}
    made = eval(line, known)
    assert made
    assert not environment.faults


def test_the_pages_own_handshake_is_answered() -> None:
    [block] = python_under(ADDING, "Handshakes")
    file: dict[str, Any] = {}
    exec(block, file)
    assert file["shake_hands"](Received(b"", (("X-Acme-Ping", "p"),), "GET")).body == "p"
    assert file["shake_hands"](Received(b"{}")) is None
