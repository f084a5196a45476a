"""`stagehook delivery` on a store without a receiver: list, show, release, and the wrong ways to ask."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from activities.store.database import Database
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate, digest
from receiver.deliveries.filters import ANY, Filters
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Conclusion
from tests.commands import command, run_alone
from tests.local_stack import run_command
from tests.parts.deliveries import delivery, keep
from tests.parts.empty_stores import SQLiteFiles
from tests.parts.filled_stores import KEYS, on
from tests.stores import url_of


@pytest.mark.parametrize(
    ("filters", "runs"),
    [
        ([], ["run-3", "run-2", "run-1", "run-0"]),
        (["--partner", "bank"], ["run-2", "run-0"]),
        (["--verdict", "unproven"], ["run-3", "run-1"]),
        (["--verdict", "unproven", "--verdict", "accepted"], ["run-3", "run-2", "run-1", "run-0"]),
        (["--refused"], []),
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


@pytest.fixture
def parts(database: Database) -> list[Delivery]:
    """A request of kind three with two events, one of which waits for its call; and a request about something else."""
    unknown: dict[str, Any] = {"workflow_id": "", "chain_id": "", "stage": 0, "attempt": 0}
    whole = delivery(target="/partners/bank", **unknown)
    part: dict[str, Any] = {"target": whole.target, "headers": (), "body": None, "body_size": 9, "part_of": whole.id}
    taken = delivery(**part, part=1, reference="ref-1")
    waiting = delivery(**part, **unknown, part=2, reference="ref-2", verdict="unmatched")
    ignored = delivery(target=whole.target, **unknown, verdict="ignored")
    made = [whole, taken, waiting, ignored]
    Archive(database).add(made)
    return made


def test_events_of_a_request_are_listed_with_their_place_in_it(database: Database, parts: list[Delivery]) -> None:
    whole, taken, waiting, ignored = parts
    lines = {line.split()[0]: line for line in on(database, "delivery", "list").out.splitlines()}
    for one in (taken, waiting):
        assert lines[one.id].endswith(f"  {one.part} of {whole.id}")
    assert " of " not in lines[whole.id] + lines[ignored.id]
    listed = {one["id"]: one for one in json.loads(on(database, "delivery", "list", "--json").out)}
    assert [(listed[one.id]["part"], listed[one.id]["part_of"]) for one in (taken, waiting)] == [
        (1, whole.id),
        (2, whole.id),
    ]


def test_the_list_says_why_a_request_was_refused(database: Database) -> None:
    one = replace(delivery(verdict="unproven"), status=401, reason="mismatch: no signature is by one of our keys")
    Archive(database).add([one])
    assert "mismatch: no signature is by one of our keys" in on(database, "delivery", "list", "--refused").out


@pytest.mark.parametrize("verdict", ["ignored", "unmatched"])
def test_ignored_and_unmatched_deliveries_can_be_listed(
    database: Database, parts: list[Delivery], verdict: str
) -> None:
    listed = json.loads(on(database, "delivery", "list", "--json", "--verdict", verdict).out)
    assert [one["id"] for one in listed] == [one.id for one in parts if one.verdict == verdict]


def test_an_event_is_shown_with_its_request_which_has_the_body(database: Database, parts: list[Delivery]) -> None:
    whole, _, waiting, _ = parts
    shown = dict(line.split(maxsplit=1) for line in on(database, "delivery", "show", waiting.id).out.splitlines())
    assert shown["part"].startswith(f"2 of {whole.id}")
    assert (shown["body"], shown["reference"]) == ("9 bytes", "ref-2")
    refused = on(database, "delivery", "show", waiting.id, "--body")
    assert (refused.code, f"delivery show {whole.id} --body" in refused.err) == (1, True)


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


def test_a_file_is_filtered_as_the_store_is(filled: Database) -> None:
    every = list(Archive(filled).every())
    some = [
        Filters(partner="bank"),
        Filters(stage=2, verdicts=("unproven", "conflict")),
        Filters(refused=True),
        Filters(since=time.time() - 5400),
    ]
    for filters in some:
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
    printed = run_alone("delivery", "show", one.id, "--body", DATABASE_URL=url_of(filled))
    assert (printed.returncode, printed.stdout) == (0, one.body)


@pytest.mark.system
def test_a_process_prints_a_body_byte_for_byte(sqlite_files: SQLiteFiles, tmp_path: Path) -> None:
    database = sqlite_files.copy(tmp_path)
    one = delivery(body=(body := b"\x00\r\n\xff"), body_size=len(body), body_digest=digest(body))
    Archive(database).add([one])
    printed = run_command("delivery", "show", one.id, "--body", env={"DATABASE_URL": url_of(database)})
    assert (printed.returncode, printed.stdout) == (0, body)


def test_a_header_that_curl_cannot_send_is_told(database: Database) -> None:
    one = delivery(headers=(("X-Odd", "a\r\nb"), ("X-Latin", "caf\xe9")))
    Archive(database).add([one])
    done = on(database, "delivery", "show", one.id, "--curl", PUBLIC_URL="http://127.0.0.1:1", CALLBACK_KEYS=KEYS)
    assert done.err == "left out: the header X-Odd, for it holds CR, LF, NUL or what is not latin-1\n"
    assert r"""-H "$(printf 'X-Latin: caf\351')" """ in done.out


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


@pytest.mark.parametrize("now", [Fate.TAKEN, Fate.REFUSED])
async def test_what_another_command_has_released_is_left(
    inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch, now: Fate
) -> None:
    """It was chosen because it is parked, and meanwhile a receiver has sent it."""
    one = delivery()
    await keep(inbox, one, "a")
    inbox.conclude(Conclusion(one.id, Fate.PARKED, "no"))
    await inbox.depth()
    choose = Archive.every

    def and_then_send(self: Archive, filters: Filters) -> list[Delivery]:
        chosen = list(choose(self, filters))
        with database.begin() as connection:
            connection.exec_driver_sql(f"UPDATE deliveries SET fate = '{now.value}'")
        return chosen

    monkeypatch.setattr(Archive, "every", and_then_send)
    done = on(database, "delivery", "release", "--fate", "parked")
    assert (done.code, done.out, done.err) == (0, "", "0 deliveries released, 1 left as they are\n")
    assert Archive(database).get(one.id).fate is now
    assert await inbox.claim(10) == []


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
    for url, says in ((tmp_path / "typo.db", "missing file"), (tmp_path, "is not a file")):
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
