"""Whatever others have written, no command sends a terminal a control character that rich did not make."""

from __future__ import annotations

import asyncio
import json
import re
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import pytest
from temporalio.client import Client

from activities.callback_urls import CallbackURLs, Claims
from activities.choosing import ChosenRun, ChosenStage
from activities.store import migrations
from activities.store.database import Database
from receiver.cli import stagehook
from receiver.cli.pipeline.bulk.state import BulkItem, BulkRequest, StateFile
from receiver.cli.terminal import CONTROLS
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, digest
from tests.local_stack import Local
from tests.parts.deliveries import delivery
from tests.parts.local_runs import begin, call_of, until
from tests.parts.terminals import on_terminal_raw
from workflows.contract import ADVANCE_STAGE, Answer, Callback

CLIPBOARD = "\x1b]52;c;cm0gLXJm\x07"
HOSTILE = f"{CLIPBOARD}\x1b[2J\x1b[5m\x9b5m\x9d0;x\x9c\r\b\x7f\u202e\u2066\u200f\u2028\U000e0041ä"
"""Writes the clipboard, clears the screen, blinks, sets the title, overwrites the line, turns text around."""
OURS = re.compile(r"\x1b\[(?:[0-46-9]|[0-9]{2,3}|;)*m|\x1b\[[0-9]*[AK]|\x1b\[\?25[hl]|\r")
"""What rich writes on a terminal: colours, but none that blinks; up a line, and erase it; hide the cursor."""


@dataclass
class Hostile:
    """A system with a hostile run, store, file and partner."""

    local: Local
    file: str
    state: str
    store: str
    partner: str

    def run(self, words: list[str], given: bytes = b"", **env: str) -> str:
        """What the command prints, to stdout and stderr."""
        done = self.local.command(*words, given=given, DATABASE_URL=self.store, **env)
        return done.stdout.decode() + done.stderr.decode()


def hostile_delivery(**changes: Any) -> Delivery:
    body = f"{{\n{HOSTILE}}}".encode()
    plain = delivery(
        body=body,
        body_size=len(body),
        body_digest=digest(body),
        workflow_id=HOSTILE,
        target=f"/callbacks/{HOSTILE}",
        headers=(("X-Odd", HOSTILE),),
    )
    names = ("id", "chain_id", "partner", "pipeline", "signed_id", "says", "verdict", "reason", "fate_reason", "client")
    texts: dict[str, Any] = {name: f"{name}{HOSTILE}" for name in names}
    return replace(plain, **{**texts, **changes})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some commands make the files that hostile settings name."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def answering() -> Iterator[str]:
    """A server whose every answer is hostile."""

    class Answering(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            list(iter(self.rfile.readline, b"\r\n"))
            body = HOSTILE.encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with socketserver.TCPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, answering: str, local: Local) -> Hostile:
    folder = tmp_path_factory.mktemp("hostile")
    file, store = folder / f"{HOSTILE.replace('/', '')}.jsonl", f"sqlite:///{folder}/deliveries.db"
    file.write_text("".join(json.dumps(hostile_delivery(id=f"{n}{HOSTILE}").as_json()) + "\n" for n in range(2)))
    migrations.upgrade(Database(store))
    Archive(Database(store)).add([hostile_delivery(), hostile_delivery(id=f"0{HOSTILE}", client="")])
    stages = [{"partner": "esign", "needs": {"signer": "input.signer"}}] * 2
    begin(local, HOSTILE, *stages)
    until(local, HOSTILE, 1, lambda stage: stage["state"] == "waiting")
    answered = Answer("failed", code=HOSTILE, message=HOSTILE, data={HOSTILE: HOSTILE})
    asyncio.run(settle(local, HOSTILE, answered))
    begin(local, f"open{HOSTILE}", stages[0])
    until(local, f"open{HOSTILE}", 1, lambda stage: stage["state"] == "waiting")
    return Hostile(local, str(file), f"{file}.state", store, answering)


def write_state(hostile: Hostile) -> None:
    """The state of a bulk command for a run that is gone, and for one whose stage has gone on."""
    stage = ChosenStage(1, HOSTILE, HOSTILE, HOSTILE, 9, None, 1e300)
    runs = [ChosenRun(id_, HOSTILE, HOSTILE, HOSTILE, HOSTILE, [stage]) for id_ in (f"none{HOSTILE}", OPEN)]
    request = BulkRequest(1, "abc", "skip", HOSTILE, "ada", {HOSTILE: HOSTILE}, "", HOSTILE, "default", len(runs))
    path = Path(hostile.state)
    path.unlink(missing_ok=True)
    StateFile.create(path, request, [BulkItem(number, run) for number, run in enumerate(runs, 1)]).close()


async def settle(local: Local, workflow_id: str, answer: Answer) -> None:
    call = await asyncio.to_thread(call_of, local, workflow_id, 1)
    client = await Client.connect(local.stack.address)
    callback = Callback(answer, call.chain_id, call.attempt, call.issued_at)
    await client.get_workflow_handle(workflow_id).signal(ADVANCE_STAGE, args=[1, asdict(callback)])


OPEN = f"open{HOSTILE}"
ALL = ["--limit", "1000"]
"""Of the runs of other tests too."""

CASES: dict[str, list[list[str]]] = {
    "demo": [],
    "dev": [],
    "serve": [],
    "worker": [],
    "console": [],
    "doctor": [[], ["--json"]],
    "setup": [[]],
    "pipeline start": [[HOSTILE], ["onboarding", "--input", HOSTILE], ["onboarding", "--input", f"@{HOSTILE}"]],
    "pipeline list": [
        ALL,
        [*ALL, "--json"],
        ["--partner", HOSTILE],
        ["--pipeline", HOSTILE, "--json"],
        ["--state", HOSTILE],
        ["--stage", HOSTILE, "--json"],
        ["--failed-with", HOSTILE, "--since", "1d"],
        ["--due", HOSTILE],
    ],
    "pipeline count": [[], ["--partner", HOSTILE, "--json"], ["--failed-with", HOSTILE, "--since", "1d"]],
    "pipeline show": [[HOSTILE], [HOSTILE, "--json"], [f"none{HOSTILE}"]],
    "pipeline result": [[HOSTILE], [HOSTILE, "--json"], [OPEN], [f"none{HOSTILE}"]],
    "pipeline watch": [[HOSTILE], [HOSTILE, "--json"], [f"none{HOSTILE}"]],
    "pipeline advance": [
        [OPEN, "7", "--reason", HOSTILE, "--actor", HOSTILE],
        [f"none{HOSTILE}", "1"],
        [HOSTILE, HOSTILE],
    ],
    "pipeline resume": [[HOSTILE, "7"], [OPEN, "--reason", HOSTILE], [f"none{HOSTILE}", "--actor", HOSTILE]],
    "pipeline extend": [
        [OPEN, "1", "2h", "--reason", HOSTILE, "--actor", HOSTILE],
        [OPEN, "1", HOSTILE, "--reason", "x"],
    ],
    "pipeline call-again": [[f"none{HOSTILE}", "1", "--reason", HOSTILE], [OPEN, "7", "--reason", HOSTILE]],
    "pipeline succeed": [
        [HOSTILE, "1", "--reason", HOSTILE, "--id", HOSTILE, "--data", json.dumps({HOSTILE: HOSTILE})],
        [OPEN, "1", "--reason", HOSTILE, "--data", HOSTILE],
    ],
    "pipeline skip": [[HOSTILE, "1", "--reason", HOSTILE], [HOSTILE, HOSTILE, "--reason", HOSTILE]],
    "pipeline fail": [
        [HOSTILE, "1", "--reason", HOSTILE, "--yes"],
        [HOSTILE, "1", "--reason", HOSTILE],
        [HOSTILE, "1"],
    ],
    "pipeline reference": [[OPEN, "1", HOSTILE], [f"none{HOSTILE}", "1", "x"]],
    "pipeline cancel": [[f"none{HOSTILE}"], [HOSTILE, "--reason", HOSTILE, "--actor", HOSTILE]],
    "pipeline bulk extend": [
        [HOSTILE, "--partner", HOSTILE, "--reason", "x"],
        ["2h", "--partner", "esign", "--reason", HOSTILE, "--dry-run"],
        ["2h", "--partner", "esign", "--reason", HOSTILE],
        ["--resume", HOSTILE],
        ["--resume", "FILE"],
    ],
    "pipeline bulk call-again": [["--stage", HOSTILE, "--reason", HOSTILE, "--actor", HOSTILE, "--yes"]],
    "pipeline bulk skip": [
        ["--partner", HOSTILE, "--reason", HOSTILE, "--yes"],
        ["--partner", "esign", "--reason", HOSTILE, "--actor", HOSTILE, "--dry-run", "--json"],
        ["--resume", "STATE", "--yes"],
        ["--resume", "STATE", "--yes", "--json"],
        ["--resume", "STATE", "--reason", HOSTILE],
        ["--resume", "STATE", "--partner", HOSTILE],
    ],
    "pipeline bulk fail": [["--pipeline", HOSTILE, "--reason", HOSTILE, "--yes", "--state-file", HOSTILE]],
    "pipeline bulk resume": [
        ["--failed-with", HOSTILE, "--since", "1d", "--reason", HOSTILE, "--dry-run"],
        [HOSTILE, "--status", "failed", "--reason", "x"],
    ],
    "pipeline bulk cancel": [["--partner", "esign", "--reason", HOSTILE, "--dry-run"], ["--resume", "STATE"]],
    "key generate": [],
    "key list": [[]],
    "key rotate": [[]],
    "token inspect": [["TOKEN"], ["TOKEN", "--json"], [HOSTILE], ["-"]],
    "token issue": [[OPEN, "1"], [OPEN, "1", "--json"], [f"none{HOSTILE}", "1"]],
    "partner list": [[], ["--json"]],
    "partner pause": [  # a partner that no run of these tests calls
        ["idcheck", "--reason", HOSTILE, "--actor", HOSTILE],
        [HOSTILE, "--reason", "x"],
        ["idcheck", "--reason", "x", "--until", HOSTILE],
    ],
    "partner resume": [["idcheck", "--reason", HOSTILE], [HOSTILE]],
    "partner stats": [[], ["--json"], [HOSTILE], [f"partner{HOSTILE}"], ["bank", "--since", HOSTILE]],
    "partner new": [[HOSTILE], ["x", "--scheme", HOSTILE], ["x", "--from", HOSTILE], ["x", "--kind", HOSTILE]],
    "partner unseal": [[HOSTILE], ["-"]],
    "partner serve": [["--plays", HOSTILE], ["--plays", f"x={HOSTILE}"]],
    "partner send": [["PARTNER"], ["PARTNER", "--json"], [HOSTILE], ["PARTNER", "--data", HOSTILE]],
    "partner stop": [[OPEN, "1", "--yes"], [OPEN, "1", "--yes", "--json"], [OPEN, "1"], [OPEN, "9", "--yes"]],
    "partner undo": [[OPEN, "1", "--yes"], [OPEN, "1", "--yes", "--json"], [f"none{HOSTILE}", "1", "--yes"]],
    "delivery list": [[], ["--json"], ["--partner", HOSTILE], ["--since", HOSTILE], ["--verdict", HOSTILE]],
    "delivery show": [["id"], ["id", "--json"], ["id", "--curl"], [HOSTILE]],
    "delivery tail": [["--since", "1h"], ["--since", "1h", "--json"]],
    "delivery export": [[], ["--full"], [HOSTILE]],
    "delivery import": [["FILE"], ["FILE", "--json"], [HOSTILE]],
    "delivery release": [["id"], [HOSTILE], ["--fate", "parked"], ["--fate", HOSTILE]],
    "delivery check": [["FILE"], ["FILE", "--json"], [HOSTILE]],
    "delivery replay": [["--from", "FILE", *more] for more in ([], ["--json"], ["--dry-run"], ["--mode", "verbatim"])],
    "signature explain": [
        ["--scheme", "hmac", "--secret", HOSTILE, "--signature-header", "X", "--signed", "{body}" + HOSTILE],
        ["--scheme", "hmac", "--secret", "s", "--signature", "field:" + HOSTILE],
    ],
    "signature sign": [["--scheme", "github", "--secret", HOSTILE, "--id", HOSTILE, "FILE"], ["--scheme", HOSTILE]],
    "signature verify": [
        ["--scheme", "github", "--secret", HOSTILE, "--header", f"X-Hub-Signature-256: {HOSTILE}", "FILE"],
        ["--scheme", "github", "--secret", HOSTILE, "FILE", "--json"],
        ["--scheme", "github", "--secret", HOSTILE, "--at", HOSTILE, "FILE"],
        ["--scheme", "github", "--secret-env", HOSTILE, HOSTILE],
    ],
    "db upgrade": [[]],
    "db current": [[], ["--json"]],
    "db downgrade": [["--to", HOSTILE], ["--to", "0001"], ["--to", "0005"]],
    "completion": [[HOSTILE], ["bash"]],
    "db unpack": [[]],
    "db prune": [
        ["--older-than", age, "--yes", *more] for age, more in (("9000d", []), (HOSTILE, []), ("9000d", ["--json"]))
    ],
}
"""What each command is told, besides what all of them are told. A new command needs a line here."""

SETTINGS = ("PUBLIC_URL", "CALLBACK_KEYS", "PARTNERS", "DATABASE_URL", "TEMPORAL_ADDRESS", "PORT", "TASK_QUEUE")


def leaves(group: click.Group = stagehook, path: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        if isinstance(inner, click.Group):
            yield from leaves(inner, f"{path}{name} ")
        else:
            yield f"{path}{name}"


def test_every_command_has_a_case() -> None:
    assert sorted(CASES) == sorted(leaves())


def raw(text: str) -> list[str]:
    """The control characters in it."""
    return CONTROLS.findall(text)


@pytest.mark.system
@pytest.mark.parametrize("name", CASES)
def test_wrong_usage_and_settings_print_no_control_character(name: str, hostile: Hostile) -> None:
    words = name.split()
    for more in ([HOSTILE] * 9, [f"--{HOSTILE}"], ["--json=" + HOSTILE], ["--help"]):
        printed = hostile.run([*words, *more])
        assert printed
        assert raw(printed) == []
    for setting in SETTINGS:
        # What such a setting does not stop would go on running.
        if name in {"console", "doctor", "serve", "worker"} and setting in {"TASK_QUEUE", "TEMPORAL_ADDRESS"}:
            continue
        value = f"sqlite:///{HOSTILE}" if setting == "DATABASE_URL" else HOSTILE
        args = (CASES[name] or [[HOSTILE]])[0]
        if name != "delivery tail":
            told: dict[str, Any] = {"STAGEHOOK_TRACEBACK": "1", setting: value}
            done = hostile.local.command(*words, *named(args, hostile), **told)
            assert raw((done.stdout + done.stderr).decode()) == []


@pytest.mark.system
@pytest.mark.parametrize(("name", "words"), [(name, words) for name, all_ in CASES.items() for words in all_])
def test_what_others_wrote_prints_no_control_character(name: str, words: list[str], hostile: Hostile) -> None:
    told: dict[str, Any] = {"STAGEHOOK_TRACEBACK": "1", f"A{HOSTILE}_SECRET": "callbacks", "ESIGN_URL": hostile.partner}
    if name == "delivery replay":
        told["PUBLIC_URL"] = hostile.partner
    with patch("receiver.cli.delivery.listing.time.sleep", side_effect=KeyboardInterrupt):
        printed = hostile.run([*name.split(), *named(words, hostile)], HOSTILE.encode(), **told)
    assert printed
    assert raw(printed) == []


def named(words: list[str], hostile: Hostile) -> list[str]:
    keys = [hostile.local.stack.environment["CALLBACK_KEYS"]]
    token = CallbackURLs("", keys).issue(Claims(HOSTILE, HOSTILE, 1, 1, HOSTILE, 1, 2**35)).rpartition("/")[2]
    if "STATE" in words:
        write_state(hostile)
    names = {
        "STATE": hostile.state,
        "TOKEN": token,
        "FILE": hostile.file,
        "PARTNER": f"{hostile.partner}/callbacks/{token}",
    }
    return [names.get(word, word) for word in words]


@pytest.mark.parametrize("name", ["pipeline show", "pipeline watch", "pipeline list", "delivery list", "delivery show"])
def test_json_means_what_was_written(name: str, hostile: Hostile) -> None:
    arguments = {"pipeline show": [HOSTILE], "pipeline watch": [HOSTILE], "pipeline list": ALL, "delivery show": ["id"]}
    argument = arguments.get(name, [])
    done = hostile.local.command(*name.split(), *argument, "--json", DATABASE_URL=hostile.store)
    text = done.stdout.decode().splitlines()[-1] if name == "pipeline watch" else done.stdout.decode()
    value = json.loads(text)
    assert "ä" in text
    assert HOSTILE in json.dumps(value, ensure_ascii=False) or contains(value, HOSTILE)


def contains(value: object, text: str) -> bool:
    match value:
        case str():
            return text in value
        case dict():
            return any(contains(inner, text) for inner in (*value, *value.values()))
        case list():
            return any(contains(inner, text) for inner in value)
    return False


@pytest.mark.parametrize(
    "words",
    [
        ["pipeline", "show", HOSTILE],
        ["pipeline", "watch", HOSTILE],
        ["pipeline", "list", *ALL],
        ["delivery", "list"],
        ["delivery", "show", "id"],
        ["delivery", "show", "id", "--body"],
        ["delivery", "show", "id", "--curl"],
        ["delivery", HOSTILE],
    ],
    ids=lambda words: "-".join(word.replace(HOSTILE, "hostile") for word in words),
)
def test_a_terminal_gets_only_what_rich_makes(words: list[str], hostile: Hostile) -> None:
    env: dict[str, Any] = {**hostile.local.stack.environment, "DATABASE_URL": hostile.store}
    shown = on_terminal_raw(120, *words, **env).decode()
    assert "x1b" in shown or "--curl" in words  # which writes printf's escapes
    assert raw(OURS.sub("", shown)) == []


def test_a_body_in_a_pipe_is_exact(hostile: Hostile) -> None:
    done = hostile.local.command("delivery", "show", "id", "--body", DATABASE_URL=hostile.store)
    assert done.stdout == f"{{\n{HOSTILE}}}".encode()
