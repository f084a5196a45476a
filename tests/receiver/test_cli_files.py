"""`stagehook delivery` export, import and check: what leaves a store, comes into one, and may leave the house."""

from __future__ import annotations

import base64
import json
import sqlite3
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest

from activities.store.database import Database
from receiver.cli import run
from receiver.cli.delivery.checking import WINDOW
from receiver.deliveries.archive import Added, Archive
from receiver.deliveries.delivery import Fate, digest
from receiver.deliveries.inbox import Inbox
from tests.commands import command
from tests.parts.deliveries import delivery
from tests.parts.filled_stores import SECRET, on
from tests.parts.signature_command import redirected
from tests.stores import PATIENT

pytestmark = pytest.mark.system

PEM = "-----BEGIN PRIVATE KEY-----\nMIGEAgEAMBAGByqGSM49\nAgEGBSuBBAAK\n-----END PRIVATE KEY-----"


def test_deliveries_are_exported_once_in_order_of_receipt(filled: Database) -> None:
    ids = [one.id for one in Archive(filled).every()]
    done = on(filled, "delivery", "export", ids[2], ids[0], ids[0][:-1], ids[0])
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == [ids[0], ids[2]]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_body_that_hides_a_secret_is_left_out_with_the_reason(database: Database, times: int) -> None:
    hidden = SECRET.encode()
    for _ in range(times):
        hidden = base64.b64encode(hidden)
    one = delivery(body=hidden, body_size=len(hidden), body_digest=digest(hidden))
    Archive(database).add([one])
    done = on(database, "delivery", "export", ACME_SECRET=SECRET)
    exported = json.loads(done.out)
    assert (exported["body"], exported["body_size"], exported["replayable"]) == (None, len(hidden), False)
    assert f"left out: the body of {one.id}, for it hides a secret in base64" in done.err


def test_an_export_is_imported_elsewhere_as_it_was(filled: Database, tmp_path: Path) -> None:
    other = {"DATABASE_URL": f"sqlite:///{tmp_path}/other.db"}
    assert command("db", "upgrade", **other).code == 0  # type: ignore[arg-type]
    exported = on(filled, "delivery", "export", "--full").out.encode()
    added = command("delivery", "import", "-", "--json", given=exported, **other)
    assert json.loads(added.out) == {"added": 4, "present": 0, "differing": []}
    assert command("delivery", "export", "--full", **other).out.encode() == exported  # type: ignore[arg-type]


def test_what_is_there_with_another_content_is_left_and_told(filled: Database) -> None:
    ones = list(Archive(filled).every())
    given = "".join(json.dumps(one.as_json()) + "\n" for one in (replace(ones[0], client=""), *ones[1:]))
    done = on(filled, "delivery", "import", "-", given=given.encode())
    assert (done.code, done.out) == (0, "0 deliveries added, 3 were there already\n")
    assert done.err == f"left as it is: {ones[0].id} is there with another content, as one that was redacted\n"
    assert list(Archive(filled).every()) == ones


def test_what_became_of_a_delivery_since_is_no_other_content(database: Database) -> None:
    one = delivery(fate=Fate.PENDING)
    Archive(database).add([replace(one, fate=Fate.TAKEN, pipeline="onboarding", tries=1)])
    assert Archive(database).add([one]) == Added(0, 1, [])


def test_an_import_waits_for_another_writer_and_says_so_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of SQLite: PostgreSQL lets several write."""
    monkeypatch.setattr("receiver.cli.db.store.BUSY_MS", 500)
    url = f"sqlite:///{tmp_path}/busy.db"
    command("db", "upgrade", DATABASE_URL=url)
    given = json.dumps(delivery().as_json()).encode()
    with closing(sqlite3.connect(tmp_path / "busy.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        failed = command("delivery", "import", "-", given=given, DATABASE_URL=url)
        monkeypatch.setattr("receiver.cli.db.store.BUSY_MS", 20_000)
        threading.Timer(0.5, other.rollback).start()
        assert command("delivery", "import", "-", given=given, DATABASE_URL=url).out == "1 delivery added\n"
    assert failed.code == 7
    assert "another process is writing to the store" in failed.err
    assert "after 0 of 1 were added" in failed.err


def test_a_bad_line_imports_nothing(filled: Database, tmp_path: Path) -> None:
    exported = on(filled, "delivery", "export").out
    Archive(filled).prune(time.time() + 1)
    failed = on(filled, "delivery", "import", "-", given=(exported + "{}\n").encode())
    assert failed.code == 1
    assert "line 5 of stdin is not a delivery" in failed.err
    assert Archive(filled).latest() == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": ""}, "id is empty"),
        ({"id": "0" * 101}, "longer than 100 characters"),
        ({"method": "POST / HTTP/1.1\r\nX: y"}, "invalid method"),
        ({"headers": {"ab": "x"}}, "headers are a list of pairs"),
        ({"headers": [["X"]]}, "headers are a list of pairs"),
        ({"headers": [["X\r\nY", "b"]]}, "invalid header name"),
        ({"headers": [["X", "a\r\nY: b"]]}, "a header's value holds CR, LF or NUL"),
    ],
)
def test_a_line_that_could_not_be_shown_or_sent_is_refused(
    database: Database, changes: dict[str, Any], why: str
) -> None:
    lines = [json.dumps(one) for one in (delivery().as_json(), {**delivery().as_json(), **changes})]
    failed = on(database, "delivery", "import", "-", given="\n".join(lines).encode())
    assert failed.code == 1
    assert "line 2 of stdin is not a delivery: " in failed.err
    assert why in failed.err


@pytest.mark.parametrize(("before", "newline"), [(b"\xef\xbb\xbf", b"\n"), (b"", b"\r\n"), (b"\n\n", b"\n\n")])
def test_an_export_that_an_editor_has_saved_is_still_one(
    filled: Database, tmp_path: Path, before: bytes, newline: bytes
) -> None:
    file = tmp_path / "saved.jsonl"
    file.write_bytes(before + on(filled, "delivery", "export").out.encode().replace(b"\n", newline))
    Archive(filled).prune(time.time() + 1)
    assert on(filled, "delivery", "import", str(file)).code == 0
    assert len(Archive(filled).latest()) == 4


def test_a_file_without_a_delivery_is_told(filled: Database) -> None:
    done = on(filled, "delivery", "import", "-")
    assert (done.code, done.out) == (0, "0 deliveries added\n")
    assert "it holds no delivery" in done.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"", "in 0 lines: none found"),
        (b"a\nb\n", "in 2 lines: none found"),
        ("\ufeffx".encode("utf-16"), "it is not text"),
        (b"\x1f\x8b\x00\xff", "it is not text"),
    ],
)
def test_check_says_what_it_has_looked_at(given: bytes, says: str) -> None:
    done = command("delivery", "check", "-", given=given)
    assert (done.code, done.out) == (0, "")
    assert says in done.err


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (f"a\nb {PEM}\n".encode(), {2}),
        (f"a\n{json.dumps({'key': PEM})}\n{PEM}".encode(), {2, 3}),
        (b"a" * (WINDOW - 70) + f"\n{PEM}".encode() + b"\nb" * 1000, {2}),
        (json.dumps({"key": [PEM]}, indent=2).encode(), {3}),
        (b"\n" + base64.encodebytes(b"x" * 99 + PEM.encode()), {3}),
    ],
    ids=["text", "between JSON", "where a window ends", "one document", "MIME"],
)
def test_check_finds_what_goes_over_several_lines(given: bytes, lines: set[int]) -> None:
    done = command("delivery", "check", "-", "--json", given=given, ACME_KEY=PEM)
    assert done.code == 1
    assert {one["line"] for one in json.loads(done.out)["found"]} == lines


def test_check_says_in_which_line_of_a_json_document_a_secret_is() -> None:
    given = json.dumps({"a": 1, "b": [SECRET], "c": {"d": SECRET}}, indent=1).encode()
    found = json.loads(command("delivery", "check", "-", "--json", given=given, ACME_SECRET=SECRET).out)["found"]
    assert [one["line"] for one in found] == [1 + given[:at].count(b"\n") for at in places(given, SECRET.encode())]


@pytest.mark.fault
def test_check_reads_a_file_of_findings_once() -> None:
    given = f"{SECRET}\n".encode() * 2**16
    began = time.process_time()
    done = command("delivery", "check", "-", "--json", given=given, ACME_SECRET=SECRET)
    assert [one["line"] for one in json.loads(done.out)["found"]] == list(range(1, 2**16 + 1))
    assert time.process_time() - began < 30  # three times what is promised


def places(text: bytes, part: bytes) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(part, at)]


def test_check_warns_where_no_secret_is_known() -> None:
    assert "warning: no secret is known here" in command("delivery", "check", "-", given=b"x").err
    assert "warning" not in command("delivery", "check", "-", given=b"x", ACME_SECRET=SECRET).err


def test_what_show_prints_is_checked_and_imported_too(filled: Database) -> None:
    one = delivery(body=(body := quote(f"{SECRET}/").encode()), body_size=len(body), body_digest=digest(body))
    Archive(filled).add([one])
    shown = on(filled, "delivery", "show", one.id, "--json").out
    Archive(filled).prune(time.time() + 1)
    for given in (shown, f"[{shown}]", f"[{json.dumps(json.loads(shown))}]"):
        assert on(filled, "delivery", "check", "-", given=given.encode(), ACME_SECRET=f"{SECRET}/").code == 1
        assert on(filled, "delivery", "import", "-", given=given.encode()).code == 0
        assert list(Archive(filled).every()) == [one]


@pytest.mark.parametrize(("file", "says"), [("/nonexistent", "No such file"), ("/", "Is a directory")])
@pytest.mark.parametrize("verb", ["check", "import"])
def test_a_file_that_cannot_be_read_is_a_usage_error(database: Database, verb: str, file: str, says: str) -> None:
    done = on(database, "delivery", verb, file)
    assert done.code == 2
    assert says in done.err


def test_a_closed_stdin_is_told() -> None:
    with patch.object(sys, "stdin", None), redirected() as (_, err):
        assert run(["delivery", "check", "-"]) == 2
    assert "stdin is closed" in err.getvalue()


async def test_what_is_imported_is_never_forwarded(database: Database) -> None:
    pending = delivery(fate=Fate.PENDING)
    Archive(database).add([pending])
    inbox = Inbox(database, PATIENT)
    async with inbox.running():
        assert await inbox.claim(10) == []
        assert (await inbox.depth()).pending == 0


def test_an_export_has_no_secrets_and_check_finds_them(filled: Database, tmp_path: Path) -> None:
    Archive(filled).add([delivery(headers=(("X-Note", SECRET),), client="192.0.2.9")])
    plain, full = tmp_path / "plain.jsonl", tmp_path / "full.jsonl"
    plain.write_text(on(filled, "delivery", "export", ACME_SECRET=SECRET).out)
    full.write_text(on(filled, "delivery", "export", "--full", ACME_SECRET=SECRET).out)
    assert "192.0.2" not in plain.read_text()
    assert on(filled, "delivery", "check", str(plain), ACME_SECRET=SECRET).code == 0
    found = on(filled, "delivery", "check", str(full), "--json", ACME_SECRET=SECRET)
    assert (found.code, json.loads(found.out)["found"]) == (1, [{"line": 5, "holds": "ACME_SECRET"}])
    assert SECRET not in found.out + found.err
