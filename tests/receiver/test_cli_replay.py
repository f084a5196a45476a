"""`stagehook delivery replay` beside a receiver that notes what it is sent: what, where, how long, how it is told."""

from __future__ import annotations

import json
import socketserver
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from activities.store.database import Database
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, digest
from receiver.replay.stand_ins import new_stand_in_id
from tests.commands import Done, command
from tests.parts.deliveries import delivery
from tests.parts.listeners import KEYS, listening
from tests.stores import url_of

DAY = 24 * 3600.0
BODY = b"{}"


def captured(place: float = 0.0, **changes: Any) -> Delivery:
    """Deliveries in the order of their places, which are seconds."""
    kept: dict[str, Any] = {"body": BODY, "body_size": len(BODY), "body_digest": digest(BODY)}
    return replace(delivery(id=f"one-{place:g}", received_at=1_790_000_000.0 + place, headers=(), **kept), **changes)


def replay(*args: str, to: str = "http://127.0.0.1:9", **env: str) -> Done:
    env |= {"PUBLIC_URL": to, "CALLBACK_KEYS": KEYS, "PARTNERS": "sandbox"}
    return command("delivery", "replay", "--mode", "verbatim", *args, given=b"", **env)


def file_of(folder: Path, *deliveries: Delivery) -> str:
    file = folder / "some.jsonl"
    file.write_text("".join(json.dumps(one.as_json()) + "\n" for one in deliveries))
    return str(file)


def sent(done: Done) -> list[str]:
    return [one["id"] for one in json.loads(done.out)["deliveries"]]


def keep_batch(database: Database, events: int = 2, name: str = "whole") -> list[Delivery]:
    """Keep a request of several events, each for a run of its own; returns it and them."""
    target = "/partners/bank"
    whole = captured(id=name, target=target, workflow_id="", chain_id="", stage=0, attempt=0, issued_at=0, expires_at=0)
    ones = [whole]
    for n in range(1, events + 1):
        part: dict[str, Any] = {
            "part": n,
            "part_of": whole.id,
            "id": f"{whole.id}-{n:04}",
            "body": None,
            "target": target,
        }
        ones.append(captured(workflow_id=f"run-{n}", chain_id=f"chain-{n}", **part))
    Archive(database).add(ones)
    return ones


@pytest.mark.parametrize("filters", [("--of-workflow", "run-1"), ("--of-stage", "1")])
def test_an_export_by_run_is_replayed_by_the_same_filter(
    database: Database, tmp_path: Path, filters: tuple[str, str]
) -> None:
    whole, first, *_ = keep_batch(database)
    exported = command("delivery", "export", *filters, DATABASE_URL=url_of(database)).out
    assert [json.loads(line)["id"] for line in exported.splitlines()][:2] == [whole.id, first.id]
    file = tmp_path / "exported.jsonl"
    file.write_text(exported)
    with listening() as (url, noted):
        assert first.id in sent(replay("--from", str(file), *filters, "--json", to=url))
    assert [body for _, _, body in noted] == [whole.body]


def test_an_event_is_exported_with_its_request(database: Database) -> None:
    whole, _, second = keep_batch(database)
    exported = command("delivery", "export", second.id, DATABASE_URL=url_of(database)).out
    assert [json.loads(line)["id"] for line in exported.splitlines()] == [whole.id, second.id]


def test_a_request_is_exported_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("deliveries.archive", "cli.delivery.files"):
        monkeypatch.setattr(f"receiver.{module}.PAGE", 2)
    ids = {one.id for name in ("one", "two") for one in keep_batch(database, events=5, name=name)}
    for filters in ((), ("--stage", "1")):
        exported = command("delivery", "export", *filters, DATABASE_URL=url_of(database)).out
        written = [json.loads(line)["id"] for line in exported.splitlines()]
        assert (len(written), set(written)) == (len(ids), ids)


@pytest.mark.parametrize(
    "to",
    [
        "http://[::1",
        "http://[::1]public.example",
        "http://127.0.0.1:99999",
        "ftp://127.0.0.1",
        "http://127.0.0.1/?a=b",
        "127.0.0.1:8000",
        "http://public.example",
    ],
)
def test_a_receiver_that_no_callback_url_could_name_is_refused(tmp_path: Path, to: str) -> None:
    done = replay("--from", file_of(tmp_path, captured()), "--allow-remote", "--yes", "--to", to)
    assert done.code == 2
    assert done.err.startswith("error: --to is ")
    assert "\n  try: " in done.err


def test_ids_and_filters_are_not_given_together(database: Database) -> None:
    done = replay("one", "--partner", "bank", DATABASE_URL=url_of(database))
    assert (done.code, done.err) == (
        2,
        "error: IDs and filters each say which deliveries\n  try: give IDs, or filters\n",
    )


def test_each_named_id_is_sent_once_in_order_of_receipt(database: Database) -> None:
    Archive(database).add([captured(place) for place in (1, 2, 3)])
    with listening() as (url, noted):
        done = replay("one-3", "one-1", "one-3", "--json", to=url, DATABASE_URL=url_of(database))
    assert (sent(done), len(noted)) == (["one-1", "one-3"], 2)


def test_an_unknown_id_is_found_before_anything_is_sent(database: Database) -> None:
    Archive(database).add([captured()])
    with listening() as (url, noted):
        done = replay("one-0", "none-such", to=url, DATABASE_URL=url_of(database))
    assert (done.code, noted) == (4, [])


def test_what_earlier_replays_made_is_sent_only_by_name(database: Database) -> None:
    run = new_stand_in_id("run")
    Archive(database).add([captured(1), captured(2, workflow_id=run)])
    with listening() as (url, _):
        names = [("--until", "2100-01-01"), ("--of-workflow", run), ("one-2",)]
        done = [replay(*words, "--json", to=url, DATABASE_URL=url_of(database)) for words in names]
    assert list(map(sent, done)) == [["one-1"], ["one-2"], ["one-2"]]
    assert json.loads(done[0].out)["left_out"] == 1
    assert (
        "left out: 1 delivery of earlier replays to stand-ins; to send them, give IDs or --of-workflow" in done[0].err
    )


def test_a_result_says_how_many_were_left_out(tmp_path: Path) -> None:
    with listening() as (url, _):
        done = replay("--from", file_of(tmp_path, captured(), captured(1, body=None)), "--json", to=url)
    assert (sent(done), json.loads(done.out)["left_out"]) == (["one-0"], 1)


def test_unproven_deliveries_alone_get_advice_to_send_them(tmp_path: Path) -> None:
    done = replay("--from", file_of(tmp_path, captured(verdict="unproven")), "--mode", "resign")
    assert done.code == 4
    assert "  try: say --verdict unproven to have them signed again, or --mode verbatim" in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--speed", "1"), "takes 2 days, 0:00:00"),
        (("--speed", "10"), "takes 4:48:00"),
        (("--rate", "0.01"), "0:03:20"),
    ],
)
def test_how_long_a_replay_takes_is_said_before_it_begins(tmp_path: Path, args: tuple[str, ...], says: str) -> None:
    file = file_of(tmp_path, captured(), captured(DAY), captured(2 * DAY))
    assert f"{says} by --speed and --rate" in replay("--from", file, *args, "--dry-run").err
    assert "takes" not in replay("--from", file, "--dry-run").err


@pytest.mark.parametrize("args", [("--rate", "1e-9"), ("--rate", "5e-324"), ("--speed", "1")])
def test_a_replay_of_more_than_a_month_is_refused(tmp_path: Path, args: tuple[str, ...]) -> None:
    done = replay("--from", file_of(tmp_path, captured(), captured(31 * DAY)), *args, "--dry-run")
    assert done.code == 2
    assert "the replay would take more than 30 days\n  try: give a greater --rate" in done.err


def test_a_replay_to_this_machine_needs_no_consent(tmp_path: Path) -> None:
    with listening() as (url, _):
        assert replay("--from", file_of(tmp_path, captured()), "--allow-remote", to=url).code == 0


class Cutting(socketserver.StreamRequestHandler):
    """Answers, but for a delivery whose query says `cut`."""

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        self.rfile.read(len(BODY))
        if b"?cut" not in head:
            self.wfile.write(b"HTTP/1.1 202 Accepted\r\n\r\n")


def test_what_was_sent_is_told_beside_what_was_not_answered(tmp_path: Path) -> None:
    cut = captured(1, target="/callbacks/{run/1/1}?cut")
    file = file_of(tmp_path, captured(), cut, captured(2))
    with socketserver.TCPServer(("127.0.0.1", 0), Cutting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = replay("--from", file, to=f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    answers = [line.split()[-2:] for line in done.out.splitlines()[2:]]
    assert answers == [["202", "yes"], ["RemoteProtocolError", "NO"], ["202", "yes"]]
    assert done.code == 1
    assert "error: 1 of 3 deliveries got no answer that can be read" in done.err
