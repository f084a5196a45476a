"""Webhook replay, between real systems: a production capture settles the same stage on a laptop."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread, Timer
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest

from activities.client import TemporalUnreachable
from receiver.cli.demo.stack import stagehook_command
from receiver.deliveries.delivery import read_line
from tests.local_stack import Local, eventually, local_system, running

pytestmark = pytest.mark.system

INPUT = '{"full_name": "ada lovelace", "date_of_birth": "1815-12-10", "iban": "GB33BUKB20201555555555"}'


def done(local: Local, *args: str, given: bytes = b"", **env: str) -> str:
    """stdout of a command that must succeed."""
    ended = local.command(*args, given=given, **env)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


def progress(local: Local, run: str) -> dict[str, dict[str, object]]:
    shown = json.loads(done(local, "pipeline", "show", run, "--json"))
    return {stage["name"]: stage for stage in shown["progress"]["stages"]}


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, Local]]:
    """A system where a run has completed, and another one that knows nothing of it: other keys, other servers."""
    plays = {"identity": ["twice"], "bank": ["later"], "esign": ["forged"], "cards": ["later"]}
    with (
        local_system(tmp_path_factory.mktemp("production"), plays) as production,
        local_system(tmp_path_factory.mktemp("laptop")) as laptop,
    ):
        done(production, "pipeline", "start", "onboarding", "--id", "customer-7", "--input", INPUT, "--wait")
        yield production, laptop


@pytest.fixture(scope="module")
def exported(systems: tuple[Local, Local], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "incident.jsonl"
    file.write_text(done(systems[0], "delivery", "export"))
    return file


def sendable(exported: Path) -> int:
    """How many of the deliveries can be replayed: six, and more where a busy system let the partner send again."""
    return sum(read_line(line).replayable for line in exported.read_bytes().splitlines())


def replay(local: Local, *args: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(done(local, "delivery", "replay", *args, "--json"))
    return shown


def test_an_export_holds_no_secret_of_its_system(systems: tuple[Local, Local], exported: Path) -> None:
    done(systems[0], "delivery", "check", str(exported))
    assert systems[0].stack.environment["CALLBACK_KEYS"] not in exported.read_text()


def test_a_production_capture_settles_its_stages_on_a_laptop(systems: tuple[Local, Local], exported: Path) -> None:
    production, laptop = systems
    assert "added" in done(laptop, "delivery", "import", str(exported))
    assert "0 deliveries added" in done(laptop, "delivery", "import", str(exported))
    shown = json.loads(done(laptop, "delivery", "replay", "--of-workflow", "customer-7", "--expect", "--json"))
    assert shown["sent"] == shown["same"] == sendable(exported) >= 6
    (run,) = {one["workflow_id"] for one in shown["deliveries"]}
    there, here = progress(production, "customer-7"), progress(laptop, run)
    assert here.pop("end-of-replay")["outcome"] == "advanced"
    thin = here.pop("identity-check")  # a stand-in asks no partner
    assert (there["identity-check"]["cause"], thin["outcome"]) == ("asked", "advanced")
    for name, stage in here.items():
        assert (stage["outcome"], stage["cause"]) == (there[name]["outcome"], there[name]["cause"])
    assert json.loads(done(laptop, "pipeline", "list", "--json"))[0]["status"] == "completed"


def test_no_partner_is_called_by_a_replay(systems: tuple[Local, Local], exported: Path) -> None:
    url = f"{systems[1].stack.sandbox_url}/ledger"
    before = httpx.get(url, trust_env=False).json()
    replay(systems[1], "--from", str(exported))
    assert httpx.get(url, trust_env=False).json() == before


def test_one_delivery_is_replayed_into_its_own_stage(systems: tuple[Local, Local], exported: Path) -> None:
    shown = json.loads(done(systems[1], "delivery", "replay", "--from", str(exported), "--of-stage", "3", "--json"))
    run = shown["deliveries"][0]["workflow_id"]
    stages = progress(systems[1], run)
    assert [(stage["outcome"], stage["cause"]) for stage in stages.values()] == [
        ("advanced", "operator"),
        ("advanced", "operator"),
        ("succeeded", "callback"),
        ("advanced", "operator"),
    ]


def test_a_delivery_is_replayed_into_a_run_that_is_named(systems: tuple[Local, Local], exported: Path) -> None:
    _, laptop = systems
    never = INPUT.replace("GB33BUKB20201555555555", "play:never")
    done(laptop, "pipeline", "start", "onboarding", "--id", "mine", "--input", never)
    shown = replay(laptop, "--from", str(exported), "--of-stage", "2", "--workflow", "mine", "--stage", "2")
    assert (shown["sent"], shown["same"]) == (2, 2)
    done(laptop, "pipeline", "watch", "mine")
    assert progress(laptop, "mine")["account-check"]["cause"] == "callback"


def test_verbatim_into_a_system_without_the_run_differs(systems: tuple[Local, Local], exported: Path) -> None:
    shown = replay(systems[1], "--from", str(exported), "--mode", "verbatim")
    # Where a partner signs, the laptop's secret is another one too, and a signature is looked at first.
    assert {one["partner"]: one["answered"] for one in shown["deliveries"]} == {
        "identity": 401,
        "bank": 401,
        "esign": 401,
        "cards": 404,
    }
    ended = systems[1].command("delivery", "replay", "--from", str(exported), "--mode", "verbatim", "--expect")
    assert ended.returncode == 1
    assert b"0 as at capture" in ended.stderr


@pytest.mark.usefixtures("exported")  # before there are duplicates in the store
def test_a_replay_on_its_own_system_changes_nothing(systems: tuple[Local, Local]) -> None:
    for partner in ("bank", "esign", "cards"):  # an "ask me" is never a duplicate, and this run has ended
        words = ("--of-workflow", "customer-7", "--partner", partner, "--expect", "--json")
        shown = json.loads(done(systems[0], "delivery", "replay", *words))
        assert {one["workflow_id"] for one in shown["deliveries"]} == {"customer-7"}


def recorded(local: Local) -> list[str]:
    return [one["id"] for one in json.loads(done(local, "delivery", "list", "--json"))]


def test_nothing_is_sent_in_a_dry_run(systems: tuple[Local, Local], exported: Path) -> None:
    before = recorded(systems[1])
    ended = systems[1].command("delivery", "replay", "--from", str(exported), "--dry-run")
    assert ended.returncode == 0
    assert f"{sendable(exported)} deliveries of 1 run, to ".encode() in ended.stderr
    assert b"into stand-ins of runs that are not here; no partner is called" in ended.stderr
    assert recorded(systems[1]) == before


def test_a_dry_run_says_to_programs_what_would_be_done(systems: tuple[Local, Local], exported: Path) -> None:
    planned = replay(systems[1], "--from", str(exported), "--dry-run")
    (run,) = planned.pop("runs")
    url = systems[1].stack.environment["PUBLIC_URL"]
    assert planned == {"matching": sendable(exported), "left_out": 1, "to": url, "mode": "resign", "seconds": 0.0}
    assert (run["workflow_id"], run["into"], run["difference"]) == ("customer-7", None, "")
    assert {one["stage"] for one in run["deliveries"]} == {1, 2, 3, 4}
    (there,) = replay(systems[0], "--of-workflow", "customer-7", "--dry-run")["runs"]
    assert there["into"] == "customer-7"


@pytest.fixture
def postman(systems: tuple[Local, Local]) -> Iterator[str]:
    """A receiver that answers at once and hands on a second later, as ours does while Temporal is slow."""
    to = systems[1].stack.environment["PUBLIC_URL"]

    class Slow(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head, _, lines = b"".join(iter(self.rfile.readline, b"\r\n")).decode().partition("\r\n")
            headers = dict(line.split(": ", 1) for line in lines.splitlines())
            body = self.rfile.read(int(headers["Content-Length"]))
            url = to + head.split(" ")[1]
            Timer(1.0, lambda: httpx.post(url, headers=headers, content=body, trust_env=False)).start()
            self.wfile.write(b"HTTP/1.1 202 Accepted\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Slow) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_replay_ends_when_what_it_sent_has_come(systems: tuple[Local, Local], exported: Path, postman: str) -> None:
    shown = replay(systems[1], "--from", str(exported), "--of-stage", "3", "--to", postman)
    stage = list(progress(systems[1], shown["deliveries"][0]["workflow_id"]).values())[2]
    assert (stage["outcome"], stage["cause"]) == ("succeeded", "callback")


def test_what_was_sent_before_a_failure_is_told(
    systems: tuple[Local, Local], exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the run waits for its second stage, and the third never opens."""
    monkeypatch.setattr("receiver.replay.aims.STAGE_OPENS_WITHIN", 5.0)
    never = INPUT.replace("GB33BUKB20201555555555", "play:never")
    done(systems[1], "pipeline", "start", "onboarding", "--id", "stuck", "--input", never)
    eventually(lambda: list(progress(systems[1], "stuck").values())[1]["state"] == "waiting")
    wanted = {(2, "progress"), (3, "succeeded")}
    lines = {
        (one.stage, one.says): line
        for line in exported.read_bytes().splitlines(keepends=True)
        if (one := read_line(line))
    }
    given = b"".join(line for what, line in lines.items() if what in wanted)
    ended = systems[1].command("delivery", "replay", "--from", "-", "--workflow", "stuck", "--json", given=given)
    assert (ended.returncode, json.loads(ended.stdout)["sent"]) == (4, 1)
    assert b"error: the run stuck has no stage 3" in ended.stderr


def test_what_was_sent_is_told_if_temporal_is_away_at_the_end(
    systems: tuple[Local, Local], exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.runs.Runs.finish", AsyncMock(side_effect=TemporalUnreachable("it is away")))
    ended = systems[1].command("delivery", "replay", "--from", str(exported), "--of-stage", "3", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["sent"]) == (7, 1)


def listed(local: Local) -> set[str]:
    return {run["workflow_id"] for run in json.loads(done(local, "pipeline", "list", "--json"))}


def test_a_killed_replay_ends_its_stand_in(systems: tuple[Local, Local], exported: Path, tmp_path: Path) -> None:
    _, laptop = systems
    before = listed(laptop)
    words = stagehook_command("delivery", "replay", "--from", str(exported), "--rate", "0.01")
    with running(words, {**os.environ, **laptop.stack.environment}, tmp_path / "log") as process:
        while not (begun := listed(laptop) - before):
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
    done(laptop, "pipeline", "watch", *begun)
    assert "had been answered" in (tmp_path / "log").read_text()


def test_a_curl_line_really_runs(systems: tuple[Local, Local]) -> None:
    production, _ = systems
    listed = json.loads(done(production, "delivery", "list", "--json", "--partner", "bank"))
    line = done(production, "delivery", "show", listed[0]["id"], "--curl")
    sent = subprocess.run(["sh", "-c", line], capture_output=True, timeout=60, check=True)
    assert sent.stdout.startswith(b"HTTP/1.1 202")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["replay"], 2, "say which"),
        (["replay", "xyz"], 4, "no delivery begins with"),
        (["replay", "--since", "1h", "--partner", "nobody"], 4, "no delivery to replay"),
        (["replay", "--from", "/dev/null"], 4, "`stagehook delivery export` writes what --from takes"),
        (["replay", "--since", "1h", "--to", "https://hooks.example.com"], 2, "is not this machine"),
        (["replay", "--since", "1h", "--to", "https://x.example", "--allow-remote"], 2, "cannot be confirmed"),
        (["replay", "--since", "1h", "--to", "http://127.0.0.1:9"], 1, "did not answer"),
        (["replay", "--since", "soon"], 2, "use an age such as 2h"),
        (["replay", "--since", "1h", "--stage", "2"], 2, "say where to"),
        (["replay", "--since", "1h", "--workflow", "none-such"], 4, "no open or recent run"),
        (["replay", "--since", "1h", "--workflow", "none-such", "--dry-run"], 4, "no open or recent run"),
        (["replay", "--from", "/nonexistent"], 2, "cannot be read"),
        (["import", "-"], 1, "line 1 of stdin is not a delivery"),
        (["show", "0"], 4, "several deliveries begin with '0'"),
        (["release", "01"], 4, "several deliveries begin"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_way_out(
    systems: tuple[Local, Local], args: list[str], code: int, says: str
) -> None:
    ended = systems[0].command("delivery", *args, given=b"junk\n")
    assert ended.returncode == code
    assert says in ended.stderr.decode()
    assert b"  try: " in ended.stderr


def test_a_partner_that_is_not_enabled_here_is_said(systems: tuple[Local, Local], exported: Path) -> None:
    ended = systems[1].command("delivery", "replay", "--from", str(exported), PARTNERS="sandbox")
    assert ended.returncode == 2
    assert b"PARTNERS does not name bank, cards, esign, identity" in ended.stderr


@pytest.mark.usefixtures("exported")  # before there is a second run
def test_new_deliveries_of_production_are_replayed_to_a_laptop(systems: tuple[Local, Local], tmp_path: Path) -> None:
    """As they come in, until Ctrl-C; the laptop has other keys and secrets, and production's store is only read."""
    production, laptop = systems
    before = recorded(production)
    env = dict(laptop.stack.environment)
    words = ["delivery", "tail", "--since", "1h", "--replay-to", env["PUBLIC_URL"], "--json"]
    env["DATABASE_URL"] = production.stack.environment["DATABASE_URL"]
    out = tmp_path / "tail.log"

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in out.read_text().splitlines() if line.startswith("{")]

    with running(stagehook_command(*words), env, out) as tailing:
        eventually(lambda: len(lines()) >= 6)
        done(production, "pipeline", "start", "onboarding", "--id", "customer-8", "--input", INPUT, "--wait")
        eventually(lambda: {line["stage"] for line in lines() if line["workflow_id"] == "customer-8"} == {1, 2, 3, 4})
        tailing.send_signal(signal.SIGINT)
        assert tailing.wait(3 * 12) == 130
    accepted = [line for line in lines() if line["verdict"] == "accepted"]
    # A status that the partner's file chooses is recorded after the delivery, so a line may show the status before.
    listed = json.loads(done(production, "delivery", "list", "--limit", "100", "--json"))
    statuses = {one["id"]: one["status"] for one in listed}
    assert [line["answered"] for line in accepted] == [statuses[line["id"]] for line in accepted]
    settled = {line["into"] for line in accepted if line["stage"] == 2}
    for run in settled:
        assert progress(laptop, run)["account-check"]["cause"] == "callback"
        assert json.loads(done(laptop, "pipeline", "show", run, "--json"))["status"] == "completed"
    assert set(before) < set(recorded(production))
    assert not [run for run in settled if run.startswith("customer-")]
