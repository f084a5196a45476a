"""`stagehook delivery` on a store without a receiver: list, show, tail, export, import, check, release."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from receiver.cli import run
from receiver.cli.delivery_check import WINDOW
from receiver.cli.following import OVERLAP
from receiver.cli.stack import stagehook_command
from receiver.deliveries.archive import ANY, PAGE, Added, Archive, Filters
from receiver.deliveries.database import Database
from receiver.deliveries.delivery import Fate, digest
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.schema import DELIVERIES
from receiver.deliveries.statements import Conclusion
from tests.commands import Done, command
from tests.local_stack import running
from tests.receiver.test_cli_signature import redirected
from tests.receiver.test_inbox import delivery, keep
from tests.stores import url_of

SECRET = "a-secret-of-some-length"
KEYS = "0123456789abcdefghijklmnopqrstuvwxyz"


def on(database: Database, *args: str, given: bytes = b"", **env: str) -> Done:
    return command(*args, given=given, DATABASE_URL=url_of(database), **env)


@pytest.fixture
def filled(database: Database) -> Database:
    now = time.time()
    made = [
        delivery(
            f"chain-{n}",
            workflow_id=f"run-{n}",
            received_at=now - 3600 * n,
            stage=n + 1,
            partner=("bank", "esign")[n % 2],
            pipeline=("onboarding", "refund")[n % 2],
            verdict=("accepted", "unproven")[n % 2],
            client="192.0.2.1",
        )
        for n in range(4)
    ]
    assert Archive(database).add(made) == Added(4, 0, [])
    assert Archive(database).add(made) == Added(0, 4, [])
    return database


@pytest.mark.parametrize(
    ("filters", "runs"),
    [
        ([], ["run-3", "run-2", "run-1", "run-0"]),
        (["--partner", "bank"], ["run-2", "run-0"]),
        (["--verdict", "unproven"], ["run-3", "run-1"]),
        (["--pipeline", "refund"], ["run-3", "run-1"]),
        (["--workflow", "run-2"], ["run-2"]),
        (["--stage", "4"], ["run-3"]),
        (["--since", "90m"], ["run-1", "run-0"]),
        (["--since", "150m", "--until", "30m"], ["run-2", "run-1"]),
        (["--since", "2020-01-01T00:00", "--until", "2020-01-02T00:00Z"], []),
        (["--limit", "1"], ["run-0"]),
        (["--fate", "pending"], []),
        (["--until", "1970-01-01"], []),
    ],
)
def test_filters_choose(filled: Database, filters: list[str], runs: list[str]) -> None:
    listed = json.loads(on(filled, "delivery", "list", "--json", *filters).out)
    assert [one["workflow_id"] for one in listed] == runs


def test_what_is_listed_is_read_without_its_body(database: Database) -> None:
    ones = [delivery(body=b"x" * 99), delivery(body=None)]
    Archive(database).add(ones)
    archive = Archive(database)
    for found in (archive.latest(), archive.since(0)[0], archive.later([one.id for one in ones], ANY)[0]):
        assert [one.body for one in found] == [b"", None]
        assert [one.replayable for one in found] == [True, False]


def test_the_beginning_of_an_id_is_taken_as_it_is_written(database: Database) -> None:
    ones = [replace(delivery(), id=id_) for id_ in ("abc-1", "ABC-1", "a%c-1")]
    Archive(database).add(ones)
    for one in ones:
        assert Archive(database).get(one.id[:3]) == one


NO_UTF8 = "\udcff"


@pytest.mark.parametrize(
    ("args", "code"),
    [(["show", NO_UTF8], 4), (["list", "--partner", NO_UTF8], 2), (["list", "--workflow", NO_UTF8], 2)],
)
def test_an_argument_that_is_no_utf8_is_told(database: Database, args: list[str], code: int) -> None:
    Archive(database).add([delivery()])
    done = on(database, "delivery", *args)
    assert done.code == code
    assert "\\udcff" in done.err


def test_a_list_that_is_cut_says_so(filled: Database) -> None:
    for options in ([], ["--json"]):
        assert on(filled, "delivery", "list", "--limit", "3", *options).err == "the latest 3: --limit shows more\n"
        assert on(filled, "delivery", "list", "--limit", "4", *options).err == ""


def test_a_verdict_that_is_none_is_refused(filled: Database) -> None:
    done = on(filled, "delivery", "list", "--verdict", "nonsense")
    assert (done.code, done.out) == (2, "")
    assert "'accepted', 'duplicate'" in done.err


@pytest.mark.parametrize("verb", ["export", "release"])
def test_ids_and_filters_are_not_given_together(filled: Database, verb: str) -> None:
    one = Archive(filled).latest()[0]
    done = on(filled, "delivery", verb, one.id, "--partner", "bank")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: IDs and filters each say which deliveries\n  try: give IDs, or filters\n"


def test_deliveries_are_exported_once_and_in_the_order_of_receipt(filled: Database) -> None:
    ids = [one.id for one in Archive(filled).every()]
    done = on(filled, "delivery", "export", ids[2], ids[0], ids[0][:-1], ids[0])
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == [ids[0], ids[2]]


def test_a_file_is_filtered_as_the_store_is(filled: Database) -> None:
    every = list(Archive(filled).every())
    for filters in (Filters(partner="bank"), Filters(stage=2, verdict="unproven"), Filters(since=time.time() - 5400)):
        assert [one for one in every if filters.matches(one)] == list(Archive(filled).every(filters))


def test_every_page_is_read_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.deliveries.archive.PAGE", 3)
    given = [delivery(received_at=float(1 + n // 4)) for n in range(11)]
    Archive(database).add(given)
    assert [one.id for one in Archive(database).every()] == [one.id for one in given]


def test_what_is_shown_is_what_was_recorded(filled: Database) -> None:
    (one,) = Archive(filled).every(Filters(workflow="run-1"))
    shown = on(filled, "delivery", "show", one.id)
    assert "X-Twice: 1\n" in shown.out
    assert "POST /callbacks/{run/1/1}" in shown.out
    assert "202 unproven" in shown.out
    assert json.loads(on(filled, "delivery", "show", one.id[:-1], "--json").out) == one.as_json()


@pytest.mark.parametrize(
    "options", [("--body", "--curl"), ("--body", "--json"), ("--curl", "--json"), ("--body", "--curl", "--json")]
)
def test_one_thing_is_shown_at_a_time(filled: Database, options: tuple[str, ...]) -> None:
    done = on(filled, "delivery", "show", Archive(filled).latest()[0].id, *options)
    assert (done.code, done.out) == (2, "")
    assert f"{' and '.join(options)} each say what is printed" in done.err


def test_a_body_is_printed_byte_for_byte(filled: Database) -> None:
    one = next(Archive(filled).every())
    printed = subprocess.run(
        stagehook_command("delivery", "show", one.id, "--body"),
        env={"DATABASE_URL": url_of(filled)},
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert printed.stdout == one.body


def test_a_header_that_curl_cannot_send_is_told(database: Database) -> None:
    one = delivery(headers=(("X-Odd", "a\r\nb"), ("X-Latin", "caf\xe9")))
    Archive(database).add([one])
    done = on(database, "delivery", "show", one.id, "--curl", PUBLIC_URL="http://127.0.0.1:1", CALLBACK_KEYS=KEYS)
    assert done.err == "left out: the header X-Odd, for it holds CR, LF, NUL or what is not latin-1\n"
    assert r"""-H "$(printf 'X-Latin: caf\351')" """ in done.out


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
    monkeypatch.setattr("receiver.cli.db.BUSY_MS", 500)
    url = f"sqlite:///{tmp_path}/busy.db"
    command("db", "upgrade", DATABASE_URL=url)
    given = json.dumps(delivery().as_json()).encode()
    with closing(sqlite3.connect(tmp_path / "busy.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        failed = command("delivery", "import", "-", given=given, DATABASE_URL=url)
        monkeypatch.setattr("receiver.cli.db.BUSY_MS", 20_000)
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
    assert "line 5 of stdin is no delivery" in failed.err
    assert Archive(filled).latest() == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": ""}, "id is empty"),
        ({"id": "0" * 101}, "longer than 100 characters"),
        ({"method": "POST / HTTP/1.1\r\nX: y"}, "method is none"),
        ({"headers": {"ab": "x"}}, "headers are a list of pairs"),
        ({"headers": [["X"]]}, "headers are a list of pairs"),
        ({"headers": [["X\r\nY", "b"]]}, "a header's name is none"),
        ({"headers": [["X", "a\r\nY: b"]]}, "a header's value holds CR, LF or NUL"),
    ],
)
def test_a_line_that_could_not_be_shown_or_sent_is_refused(
    database: Database, changes: dict[str, Any], why: str
) -> None:
    lines = [json.dumps(one) for one in (delivery().as_json(), {**delivery().as_json(), **changes})]
    failed = on(database, "delivery", "import", "-", given="\n".join(lines).encode())
    assert failed.code == 1
    assert "line 2 of stdin is no delivery: " in failed.err
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
    assert "there is no delivery in it" in done.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"", "in 0 lines: none found"),
        (b"a\nb\n", "in 2 lines: none found"),
        ("\ufeffx".encode("utf-16"), "it is no text"),
        (b"\x1f\x8b\x00\xff", "it is no text"),
    ],
)
def test_check_says_what_it_has_looked_at(given: bytes, says: str) -> None:
    done = command("delivery", "check", "-", given=given)
    assert (done.code, done.out) == (0, "")
    assert says in done.err


PEM = "-----BEGIN PRIVATE KEY-----\nMIGEAgEAMBAGByqGSM49\nAgEGBSuBBAAK\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (f"a\nb {PEM}\n".encode(), {2}),
        (f"a\n{json.dumps({'key': PEM})}\n{PEM}".encode(), {2, 3}),
        (b"a" * (WINDOW - 70) + f"\n{PEM}".encode() + b"\nb" * WINDOW, {2}),
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


def test_check_reads_a_file_of_findings_once() -> None:
    given = f"{SECRET}\n".encode() * 2**16
    began = time.monotonic()
    done = command("delivery", "check", "-", "--json", given=given, ACME_SECRET=SECRET)
    assert [one["line"] for one in json.loads(done.out)["found"]] == list(range(1, 2**16 + 1))
    assert time.monotonic() - began < 10


def places(text: bytes, part: bytes) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(part, at)]


def test_check_warns_where_no_secret_is_known() -> None:
    assert "warning: no secret is known here" in command("delivery", "check", "-", given=b"x").err
    assert "warning" not in command("delivery", "check", "-", given=b"x", ACME_SECRET=SECRET).err


def test_a_delivery_as_it_is_shown_is_checked_and_imported_as_an_export_is(filled: Database) -> None:
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
    inbox = Inbox(database)
    async with inbox.running():
        assert await inbox.claim(10) == []
        assert (await inbox.depth()).pending == 0


def test_an_export_leaves_out_secrets_and_check_finds_those_of_a_full_one(filled: Database, tmp_path: Path) -> None:
    Archive(filled).add([delivery(headers=(("X-Note", SECRET),), client="192.0.2.9")])
    plain, full = tmp_path / "plain.jsonl", tmp_path / "full.jsonl"
    plain.write_text(on(filled, "delivery", "export", ACME_SECRET=SECRET).out)
    full.write_text(on(filled, "delivery", "export", "--full", ACME_SECRET=SECRET).out)
    assert "192.0.2" not in plain.read_text()
    assert on(filled, "delivery", "check", str(plain), ACME_SECRET=SECRET).code == 0
    found = on(filled, "delivery", "check", str(full), "--json", ACME_SECRET=SECRET)
    assert (found.code, json.loads(found.out)["found"]) == (1, [{"line": 5, "holds": "ACME_SECRET"}])
    assert SECRET not in found.out + found.err


async def test_a_parked_delivery_is_released(inbox: Inbox, database: Database) -> None:
    one = delivery()
    await keep(inbox, one, "a")
    inbox.conclude(Conclusion(one.id, Fate.PARKED, "INVALID_ARGUMENT, in 16 tries", 16))
    await inbox.depth()
    listed = on(database, "delivery", "list", "--fate", "parked", "--json")
    assert [found["fate_reason"] for found in json.loads(listed.out)] == ["INVALID_ARGUMENT, in 16 tries"]
    assert on(database, "delivery", "release", one.id).out == f"{one.id} is pending\n"
    assert [queued.id for queued in await inbox.claim(10)] == [one.id]
    assert on(database, "delivery", "release", one.id).code == 4


async def test_nothing_is_released_if_one_id_is_that_of_none(inbox: Inbox, database: Database) -> None:
    one = delivery()
    await keep(inbox, one, "a")
    inbox.conclude(Conclusion(one.id, Fate.PARKED, "no"))
    await inbox.depth()
    done = on(database, "delivery", "release", one.id, "none")
    assert (done.code, done.out) == (4, "")
    assert Archive(database).get(one.id).fate is Fate.PARKED


async def test_one_that_cannot_be_released_keeps_no_other_back(inbox: Inbox, database: Database) -> None:
    ones = [delivery(f"chain-{n}", received_at=1.8e9 + n) for n in range(3)]
    for one in ones:
        await keep(inbox, one, one.id)
        inbox.conclude(Conclusion(one.id, Fate.PARKED, "no"))
    await inbox.depth()
    Archive(database).release(ones[0].id, time.time())
    Archive(database).add([imported := delivery("chain-i", fate=Fate.PARKED)])
    done = on(database, "delivery", "release", imported.id, *(one.id for one in ones))
    assert (done.code, done.out) == (4, "".join(f"{one.id} is pending\n" for one in ones[1:]))
    assert f"the delivery {ones[0].id} is pending already: it is sent by itself" in done.err
    assert f"the delivery {imported.id} was imported" in done.err


async def test_one_that_was_taken_is_released_only_when_it_is_meant(inbox: Inbox, database: Database) -> None:
    """After a reset behind it its run knows nothing of it."""
    one = delivery()
    await keep(inbox, one, "a")
    inbox.conclude(Conclusion(one.id, Fate.TAKEN))
    await inbox.depth()
    assert on(database, "delivery", "release", "--partner", "bank").out == ""
    assert on(database, "delivery", "release", "--fate", "taken").out == f"{one.id} is pending\n"
    (claimed,) = await inbox.claim(10)
    assert (claimed.id, claimed.request_id) == (one.id, "a")


def test_tail_prints_what_comes_in(database: Database, tmp_path: Path) -> None:
    Archive(database).add([delivery(workflow_id="before")])
    printed = tmp_path / "printed"
    words = ["delivery", "tail", "--json", "--partner", "bank"]
    with running(stagehook_command(*words), {"DATABASE_URL": url_of(database)}, printed):
        deadline = time.monotonic() + 40
        while not printed.stat().st_size and time.monotonic() < deadline:
            Archive(database).add([delivery(workflow_id="other", partner="other"), delivery(workflow_id="during")])
            time.sleep(0.2)
    assert {json.loads(line)["workflow_id"] for line in printed.read_text().splitlines()} == {"during"}


def interrupt() -> None:
    raise KeyboardInterrupt


def tailed(database: Database, *options: str, pauses: Sequence[Callable[[], object]] = ()) -> list[str]:
    """The ids that `tail` prints, if this happens in its pauses."""
    happening = iter([*pauses, interrupt])
    with patch("receiver.cli.delivery.time.sleep", side_effect=lambda _: next(happening)()):
        done = on(database, "delivery", "tail", "--json", *options)
    assert done.code == 130
    return [json.loads(line)["id"] for line in done.out.splitlines()]


def settle(database: Database, fate: Fate) -> None:
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).values(fate=fate.value))


def test_tail_prints_a_delivery_once_it_has_the_fate_that_is_asked_for(database: Database) -> None:
    ones = [delivery(partner=partner, fate=Fate.PENDING) for partner in ("bank", "bank", "esign")]
    pauses = [
        lambda: Archive(database).add(ones),
        lambda: settle(database, Fate.PARKED),
        lambda: settle(database, Fate.TAKEN),
        lambda: settle(database, Fate.TAKEN),
    ]
    assert tailed(database, "--fate", "taken", "--partner", "bank", pauses=pauses) == [one.id for one in ones[:2]]


def test_tail_loses_nothing_that_comes_in_behind_its_first_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, one = delivery(), delivery()
    Archive(database).add([before])

    def newest(archive: Archive, limit: int, first: Callable[..., Any] = Archive.newest) -> Any:
        try:
            return first(archive, limit)
        finally:
            archive.add([one])

    monkeypatch.setattr(Archive, "newest", newest)
    assert tailed(database) == [one.id]


@pytest.mark.parametrize("of_tail", [(), ("--since", "1h")], ids=["from now on", "since"])
def test_tail_loses_nothing_that_commits_behind_an_import(database: Database, of_tail: tuple[str, ...]) -> None:
    first, late, *page = (delivery() for _ in range(2 + 3 * OVERLAP))
    of_late = DELIVERIES.c.id == late.id

    def come() -> int | None:
        Archive(database).add([first, late, *page])
        with database.begin() as connection:
            position = connection.execute(sa.select(DELIVERIES.c.position).where(of_late)).scalar()
            connection.execute(sa.delete(DELIVERIES).where(of_late))
        return position

    def commit(position: int | None) -> None:
        Archive(database).add([late])
        with database.begin() as connection:
            connection.execute(sa.update(DELIVERIES).where(of_late).values(position=position))

    positions: list[int | None] = []
    pauses = [lambda: positions.append(come()), lambda: None, lambda: commit(positions[0])]
    assert tailed(database, *of_tail, pauses=pauses) == [one.id for one in (first, *page, late)]


def test_tail_prints_what_is_there_since_then_and_follows(filled: Database, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    words = ["delivery", "tail", "--json", "--since", "150m", "--partner", "bank"]
    with running(stagehook_command(*words), {"DATABASE_URL": url_of(filled)}, printed):
        for count in (2, 3):
            deadline = time.monotonic() + 40
            while len(printed.read_text().splitlines()) < count and time.monotonic() < deadline:
                time.sleep(0.1)
            Archive(filled).add([delivery(workflow_id="after")])
    runs = [json.loads(line)["workflow_id"] for line in printed.read_text().splitlines()]
    assert runs[:3] == ["run-0", "run-2", "after"]


def test_a_long_past_is_printed_once_and_without_a_pause(database: Database) -> None:
    made = [delivery(received_at=1.8e9 + n) for n in range(-OVERLAP, 3 * PAGE)]
    Archive(database).add(made)
    assert tailed(database, "--since", "2027-01-15T08:00:00") == [one.id for one in made[OVERLAP:]]


def test_tail_has_no_end(database: Database) -> None:
    done = on(database, "delivery", "tail", "--until", "1h")
    assert done.code == 2
    assert "`stagehook delivery list --until" in done.err


def test_hostile_text_does_not_steer_a_terminal(database: Database) -> None:
    one = delivery(workflow_id="run\x1b]0;owned\x07", headers=(("X", "\x9b2J"),))
    Archive(database).add([one])
    for args in (["list"], ["show", one.id], ["export"]):
        shown = on(database, "delivery", *args)
        assert shown.code == 0
        assert not {"\x1b", "\x07", "\x9b"} & set(shown.out)


async def test_all_that_are_parked_are_released_together(inbox: Inbox, database: Database) -> None:
    ones = [delivery(f"chain-{n}") for n in range(3)]
    for one in ones:
        await keep(inbox, one, one.id)
        inbox.conclude(Conclusion(one.id, Fate.PARKED, "no"))
    await inbox.depth()
    Archive(database).add([delivery("chain-i", fate=Fate.PARKED)])  # imported: never to be forwarded from here
    done = on(database, "delivery", "release", "--fate", "parked")
    assert done.out.count("is pending") == 3
    assert "3 deliveries released, 1 left as they are: what is imported is never sent by itself" in done.err
    assert len(await inbox.claim(10)) == 3


def test_what_is_imported_is_not_released_and_why_is_said(database: Database) -> None:
    one = delivery(fate=Fate.PARKED)
    Archive(database).add([one])
    named, chosen = (on(database, "delivery", "release", *args) for args in ([one.id], ["--fate", "parked"]))
    assert (named.code, chosen.code) == (4, 0)
    for done in (named, chosen):
        assert "imported" in done.err
        assert "`stagehook delivery replay` sends it again" in done.err


@pytest.mark.parametrize("args", [["list"], ["show", "01"], ["tail"], ["export"], ["import", "-"], ["release", "01"]])
def test_a_store_that_is_not_there_is_told_and_not_made(args: list[str], tmp_path: Path) -> None:
    for url, says in ((tmp_path / "typo.db", "there is no file"), (tmp_path, "is no file")):
        done = command("delivery", *args, DATABASE_URL=f"sqlite:///{url}")
        assert done.code == 7
        assert says in done.err
        assert "DATABASE_URL" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "code", "way_out"), [("", 1, "stagehook db upgrade"), ("no database " * 99, 7, "check DATABASE_URL")]
)
def test_a_file_that_is_no_store_is_told(text: str, code: int, way_out: str, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_text(text)
    done = command("delivery", "list", DATABASE_URL=f"sqlite:///{file}")
    assert done.code == code
    assert way_out in done.err


def test_a_server_that_is_down_is_told_without_its_password(unused_port: int) -> None:
    done = command("delivery", "list", DATABASE_URL=f"postgresql://u:secret@127.0.0.1:{unused_port}/x")
    assert done.code == 7
    assert "Connection refused" in done.err
    assert "secret" not in done.err


def test_without_a_store_it_says_so() -> None:
    done = command("delivery", "list")
    assert done.code == 2
    assert "DATABASE_URL is not set" in done.err


@pytest.mark.parametrize(
    "options", [("--rate", "nan"), ("--rate", "inf"), ("--workflow", "run", "--stage", "0"), ("--rate", "-1")]
)
def test_a_number_that_is_none_is_refused(options: tuple[str, ...]) -> None:
    done = command("delivery", "replay", "--since", "1h", *options)
    assert done.code == 2
    assert f"Invalid value for '{options[-2]}'" in done.err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_is_told_to_people_or_to_programs(database: Database, *, as_json: bool) -> None:
    ones = [delivery("chain-a", stage=stage) for stage in (1, 2)] + [delivery("chain-b", workflow_id="other")]
    Archive(database).add([*ones, delivery(body=None)])
    words = ["delivery", "replay", "--since", "1h", "--mode", "verbatim", "--dry-run", *(["--json"] if as_json else [])]
    env = {"PUBLIC_URL": "http://127.0.0.1:1", "CALLBACK_KEYS": KEYS, "PARTNERS": "sandbox"}
    done = on(database, *words, given=b"", **env)
    assert done.code == 0
    assert "3 deliveries of 2 runs, to http://127.0.0.1:1, verbatim" in done.err
    if not as_json:
        assert done.out == ""
        return
    assert json.loads(done.out) == {
        "matching": 3,
        "left_out": 1,
        "to": "http://127.0.0.1:1",
        "mode": "verbatim",
        "seconds": 0.0,
        "runs": [
            {
                "workflow_id": name,
                "into": name,
                "deliveries": [{"id": one.id, "partner": "bank", "stage": one.stage} for one in those],
                "difference": "",
            }
            for name, those in (("run", ones[:2]), ("other", ones[2:]))
        ],
    }
