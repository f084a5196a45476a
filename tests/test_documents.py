"""Every command and every piece of code in README and docs is run, as it stands there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args

import click
import httpx
import pytest
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.handshakes import HANDSHAKES, Handshake
from activities.http import http_client
from activities.partners import PARTNERS
from activities.partners.events import NOT_OURS, Event
from activities.partners.partner import Partner, handshake, idempotency_key
from activities.partners.received import Part, Received
from activities.signatures import SCHEMES
from receiver.answers import Verdict
from receiver.cli import stagehook
from receiver.cli.demo.processes import free_port
from tests.parts.certificates import HERE, issue
from tests.parts.partner_servers import forward_proxy, partner_server, tls
from tests.parts.temporal import BINARIES
from tests.support import KEY
from workflows.checking import pipeline_faults
from workflows.contract import Action, Answer, Pipeline, Policy, Receipt, Stage, StageCall
from workflows.durations import DAY, HOUR

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {page.stem: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}
EVENT_BASED, REPLAY, RELIABILITY, ADDING, HTTP, OPERATING = (
    PAGES[name] for name in ("event-based", "replay", "reliability", "partners", "http", "operating")
)
FIRST_STEPS, PIPELINES, PARTNER_FILE, SIGNATURES = (
    PAGES[name] for name in ("first-steps", "pipelines", "partner-file", "signatures")
)
MAKE = ["make", "--no-print-directory", "-C", str(ROOT)]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def test_a_newcomer_reads_no_more_than_200_lines_first() -> None:
    assert len(README.splitlines()) <= 200


def test_every_page_is_linked_and_its_commands_are_run() -> None:
    assert {f"docs/{name}.md" for name in PAGES} <= set(re.findall(r"\]\((docs/[^)#]+)", README))
    run = {"event-based", "first-steps", "operating", "partners", "pipelines", "reliability", "replay", "signatures"}
    assert {name for name, page in PAGES.items() if commands(page)} == run
    assert commands(README) == MADE


@pytest.mark.parametrize(
    ("page", "heading"),
    [("partner-file", "Add a partner"), ("partners", "Kind two: one URL, and our text comes back")],
)
def test_a_whole_partners_file_passes_our_own_checks(page: str, heading: str, tmp_path: Path) -> None:
    file = python_under(PAGES[page], heading)[0]
    (tmp_path / "acme.py").write_text(file)
    config = ["--config", str(ROOT / "pyproject.toml")]
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [str(BINARIES / "ruff"), *check, *config, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def heading_of(page: str, text: str) -> str:
    headings: list[str] = re.findall(r"^## (.*)$", page[: page.index(text)], re.MULTILINE)
    return headings[-1]


# --- commands

MADE = ["make demo", "make test"]
"""Run by `.ci/run` and by whoever reads this; `make test` cannot run itself."""


@pytest.mark.system
def test_make_demo_and_make_test_are_what_their_tests_run() -> None:
    shown = {
        command: subprocess.run([*MAKE, "-n", *command.split()[1:]], capture_output=True, text=True, check=True).stdout
        for command in MADE
    }
    assert "stagehook demo" in shown["make demo"]
    assert "pytest" in shown["make test"]
    kept = subprocess.run([*MAKE, "-n", "demo", "KEEP=1"], capture_output=True, text=True, check=True).stdout
    assert "stagehook demo --keep" in kept


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run([*MAKE, "help"], capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in shown.splitlines()] == targets
    assert {"demo", "test", "check", "dev"} <= set(targets)


@pytest.mark.parametrize(("packages", "groups"), [("playwright", 1), ("pytest", 0)])
def test_setup_keeps_what_make_browser_added(tmp_path: Path, packages: str, groups: int) -> None:
    (tmp_path / ".venv/lib/python3.11/site-packages" / packages).mkdir(parents=True)
    words = ["make", "-n", "-C", str(tmp_path), "-f", str(ROOT / "Makefile"), "setup"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert len(re.findall(r" sync --locked .*--group browser", shown)) == groups


def test_make_replay_takes_a_file_whose_name_has_blanks(tmp_path: Path) -> None:
    settings, file, shows = (tmp_path / name for name in ("env", "it's a file.jsonl", "shows"))
    settings.touch()
    shows.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    shows.chmod(0o700)
    words = [*MAKE, "-o", "setup", "replay", f"FROM={file}", f"ENV={settings}", f"RUN={shows}", "ARGS=--expect"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-3:] == ["--from", str(file), "--expect"]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[dict[str, str]]:
    """`make dev`, with settings on free ports and a database of its own; gives the environment to use beside it."""
    env_file = tmp_path / "dev.env"
    subprocess.run([*MAKE, str(env_file), f"ENV={env_file}"], check=True, capture_output=True)
    ports = {name: str(free_port()) for name in ("8000", "8090", "7233")}
    text = env_file.read_text()
    for default, port in ports.items():
        text = text.replace(default, port)
    text = text.replace(".dev/stagehook.db", f"{tmp_path}/deliveries.db")
    env_file.write_text(text)
    env = {
        **os.environ,
        "DEV_ENV": str(env_file),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{ports['7233']}",
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
    }
    (ROOT / ".dev").mkdir(exist_ok=True)  # the pages write there; the data of other such systems may lie there
    log = tmp_path / "dev.log"
    with log.open("w") as out:
        words = [*MAKE, "dev", f"ENV={env_file}", f"ARGS=--data {tmp_path}"]
        process = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)
    try:
        ready = f"http://127.0.0.1:{ports['8000']}/readyz"
        deadline = time.monotonic() + 90
        while not _answers(ready):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield env
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_a_page_has_options_that_exist(page: str) -> None:
    """Parsed, not run: `make faults` runs them against a `make dev`."""
    calls = [words for line in commands(PAGES[page]) for words in calls_of_stagehook(line)]
    assert len(calls) == len(re.findall(r"\bstagehook [a-z]", "\n".join(commands(PAGES[page]))))
    for words in calls:
        parse(words)


def test_the_page_of_development_names_options_that_exist() -> None:
    """They run without end, or need another system; tests/test_dev.py and tests/test_replay.py run such commands."""
    lines = [line for name in ("develop", "replay") for block in blocks(PAGES[name], "") for line in block.splitlines()]
    calls = [re.sub(r"^(?:[A-Z_]+=\S+ )*", "", line) for line in lines]
    calls = [line for line in calls if line.startswith("stagehook ")]
    assert len(calls) >= 5
    for line in calls:
        parse(shlex.split(line)[1:])


def calls_of_stagehook(line: str) -> Iterator[list[str]]:
    """The words behind `stagehook` of each call in a line of a shell, such as `stagehook a | stagehook b > file`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for is_punctuation, words in itertools.groupby(lexer, lambda word: set(word) <= set("();<>|&")):
        found = list(words)
        if not is_punctuation and found[0] == "stagehook":
            yield found[1:]


def parse(words: list[str]) -> None:
    """Raises `click.UsageError`, unless these words are valid for the command that they name."""
    command: click.Command = stagehook
    context = command.make_context("stagehook", list(words))
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)
        context.close()


@pytest.mark.parametrize("words", [["pipeline", "lists"], ["pipeline", "list", "--al"], ["pipeline", "show"]])
def test_a_command_that_does_not_exist_is_found(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


@pytest.mark.fault
@pytest.mark.timeout(720)
def test_the_commands_for_beginners_do_what_their_pages_say(dev: dict[str, str]) -> None:
    """In the order of the pages, in one shell, with the settings of this very `make dev`."""
    pages = (FIRST_STEPS, PIPELINES, SIGNATURES)
    script = [command for page in pages for command in commands(page) if command != "make dev"]
    script += [command for command in commands(EVENT_BASED) if command.startswith("stagehook ")]
    assert script[0].startswith("set -a; . ./.env; set +a")
    script[0] = script[0].replace("./.env", dev["DEV_ENV"])
    text = "\n".join(["set -e", *(f"{command}\necho '--- done'" for command in script)])
    done = subprocess.run(
        ["sh", "-c", text], cwd=ROOT, env=dev, capture_output=True, text=True, timeout=480, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = dict(zip(script, done.stdout.split("--- done\n"), strict=False))
    assert "stage 4 card (cards): succeeded (callback)" in printed["stagehook pipeline watch first"]
    assert "first" in printed["stagehook pipeline list"]
    assert "202" in next(text for command, text in printed.items() if "partner send" in command)
    assert "partner cards answered 200" in printed["stagehook partner undo first 4 --yes"]
    assert "stage 1 check (identity): succeeded (asked)" in printed["stagehook pipeline watch fifth"]
    assert "manual-review" in printed["stagehook pipeline show reviewed"]
    assert "reviewed" in printed["stagehook pipeline list --pipeline reviewed-onboarding"]
    for name, cause in (("second", "callback"), ("third", "operator"), ("fourth", "operator")):
        words = ["stagehook", "pipeline", "watch", name]
        watched = subprocess.run(words, env=dev, capture_output=True, text=True, timeout=40, check=True)
        assert (
            f"stage 2 account-check (bank): {'succeeded' if cause == 'callback' else 'advanced'} ({cause})"
            in watched.stdout
        )
        assert f"{name} completed" in watched.stderr


def copied(folder: Path) -> Path:
    """A copy of the project that a test may change."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "incident.jsonl")
    return Path(shutil.copytree(ROOT, folder / "copy", ignore=ignored))


@pytest.mark.fault
@pytest.mark.timeout(720)
def test_the_commands_of_the_other_pages_do_what_they_say(dev: dict[str, str], tmp_path: Path) -> None:
    """In a copy of the project, where a run has left its deliveries, and another waits for the bank."""
    copy = copied(tmp_path)
    first, second = [one for one in commands(FIRST_STEPS) if one.startswith("stagehook pipeline start")][:2]
    listed = "until stagehook pipeline list --partner bank --json | grep -q second; do sleep 0.2; done"
    given = [f"set -a; . {dev['DEV_ENV']}; set +a", f"{first} --wait", second, listed]
    script = [*given, *commands(OPERATING), *commands(RELIABILITY), *commands(REPLAY)]
    text = "\n".join(["set -e", *(f"{command}\necho '--- done'" for command in script)])
    done = subprocess.run(
        ["sh", "-c", text], cwd=copy, env=dev, capture_output=True, text=True, timeout=480, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = dict(zip(script, done.stdout.split("--- done\n"), strict=False))
    assert "account-check" in printed["stagehook pipeline list --waiting"]
    assert (copy / "bank-is-down.jsonl").read_text().splitlines()[-1].startswith('{"item": 1, "result": "done"')
    assert "bank" in printed["stagehook delivery list --since 2h --partner bank"]
    assert "yes" in printed["stagehook delivery replay --from incident.jsonl --expect"]
    assert "passed" in next(text for command, text in printed.items() if "pytest -q" in command)
    assert "succeeded (callback)" in printed["stagehook pipeline show mine"]


@pytest.mark.fault  # make systems writes partners of each kind and runs their tests, in test_cli_partner_new
@pytest.mark.timeout(240)
def test_a_partner_is_added_as_the_page_says(tmp_path: Path) -> None:
    """Its commands in their order, the code put where the page puts it before the tests are run."""
    if "acme" in PARTNERS:
        pytest.skip("the page has been followed here: there is an acme")
    copy = copied(tmp_path)
    capturing, writing, testing = blocks(ADDING, "sh")
    reading, expecting = python_under(ADDING, KIND_ONE)
    env = {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}", "PYTHONPATH": str(copy)}
    printed = []
    for script in (capturing, writing, testing):
        if script is testing:
            replace_function(copy / "activities/partners/acme.py", r"def read_answer.*", reading)
            test = r"@pytest\.mark\.parametrize\(\n    \(\"body\", \"answer\"\).*? == \[Event\(answer\)\]\n"
            replace_function(copy / "tests/activities/test_acme.py", test, expecting)
        done = subprocess.run(
            ["sh", "-ec", script], cwd=copy, env=env, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        printed.append(done.stdout)
    assert "verified" in printed[0]
    assert "wrote activities/partners/acme.py" in printed[1]
    assert "passed" in printed[2]
    for check in (["ruff", "check", "activities", "tests"], ["ruff", "format", "--check", "activities", "tests"]):
        tidy = subprocess.run([str(BINARIES / check[0]), *check[1:]], cwd=copy, capture_output=True, check=False)
        assert tidy.returncode == 0, tidy.stdout


def replace_function(file: Path, pattern: str, text: str) -> None:
    before = file.read_text()
    after = re.sub(pattern, lambda _: text, before, count=1, flags=re.DOTALL)
    assert after != before
    file.write_text(after)


def test_the_contract_for_partners_has_every_answer() -> None:
    told = set(re.findall(r"\b[2-5][0-9]{2}\b", HTTP.partition("## What we answer")[2].partition("## Duplicates")[0]))
    assert {str(verdict.status) for verdict in Verdict if verdict is not Verdict.GREETED} <= told


def test_the_commands_about_events_are_valid() -> None:
    """`tests/workflows/test_event_based.py` sends the same signals; here each is run for its usage."""
    for command in commands(EVENT_BASED):
        words = shlex.split(command)
        if words[0] == "stagehook":  # run by the test of the commands for beginners
            continue
        assert words[0] == "temporal"
        done = subprocess.run(
            [
                str(BINARIES / "temporal"),
                *words[1:],
                "--address",
                f"127.0.0.1:{free_port()}",
                "--command-timeout",
                "1s",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "unknown flag" not in done.stderr
        assert "Usage" not in done.stderr


def test_the_deploy_button_asks_for_known_settings() -> None:
    app = json.loads((ROOT / "app.json").read_text())
    described = re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    named = re.findall(r"\b[A-Z]+_[A-Z_]+\b", (ROOT / ".env.example").read_text())
    assert app["addons"] == ["heroku-postgresql"]
    assert set(app["env"]) <= {*described, *named}
    assert set(app["formation"]) == {"web", "worker"}


# --- code


def python_under(page: str, heading: str) -> list[str]:
    return [block for block in blocks(page, "python") if heading_of(page, block) == heading]


def test_the_readmes_pipeline_is_sound() -> None:
    [block] = python_under(README, "A pipeline and its partners")
    names = {"Pipeline": Pipeline, "Stage": Stage, "HOUR": HOUR, "DAY": DAY}
    exec(block, names)
    refund = names["REFUND"]
    assert isinstance(refund, Pipeline)
    assert list(pipeline_faults(refund)) == []


@pytest.mark.parametrize(
    "block", blocks(PAGES["stages"], "python"), ids=lambda block: str(block).split("=")[-1].strip()
)
def test_the_definitions_to_copy_are_sound(block: str) -> None:
    stage = eval(block, {"Stage": Stage, "HOUR": HOUR, "DAY": DAY})
    assert list(pipeline_faults(Pipeline("copied", [replace(stage, number=1)]))) == []


def test_the_page_of_stages_explains_every_policy_and_command() -> None:
    page = PAGES["stages"]
    assert re.findall(r"^\*\*`([a-z]+)`\*\*", page, re.MULTILINE) == list(get_args(Policy))
    assert {f"stagehook pipeline {action} RUN STAGE" in page for action in get_args(Action)} == {True}


def test_the_page_of_pipelines_explains_every_field_of_a_stage() -> None:
    explained = re.findall(r"^\| `([a-z_]+)` \|", PIPELINES, re.MULTILINE)
    assert explained == [field.name for field in fields(Stage)]


async def test_the_partners_file_passes_the_test_on_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    file, imported, line = python_under(PARTNER_FILE, "Add a partner")
    assert (imported.strip(), line.strip()) == (
        "from activities.partners import acme, bank, cards, esign, idcheck, identity, payments, sandbox",
        '"acme": acme.partner,',
    )
    acme = types.ModuleType("activities.partners.acme")
    exec(file, vars(acme))
    monkeypatch.setitem(sys.modules, "activities.partners.acme", acme)
    monkeypatch.setattr("activities.partners.acme", acme, raising=False)
    [tests] = python_under(PARTNER_FILE, "Test a partner with respx")
    found: dict[str, object] = {}
    exec(tests, found)
    ran = 0
    for name, test in found.items():
        if name.startswith("test_") and callable(test):
            answer = test()
            if inspect.isawaitable(answer):
                await asyncio.wait_for(answer, 10)
            ran += 1
    assert ran == 2


async def test_the_page_on_calling_out_has_a_file_that_calls(tmp_path: Path) -> None:
    [block] = python_under(PARTNER_FILE, "Tokens, certificates and proxies")
    file: dict[str, Any] = {}
    exec(block, file)
    authority = issue("ca")
    theirs, (certificate, key) = issue("acme", authority, hosts=HERE), issue("ours", authority).saved(tmp_path, "ours")
    with partner_server(tls(tmp_path, theirs, authority)) as server, forward_proxy() as proxy:
        given = {"URL": server.url, "CLIENT_ID": "us", "CLIENT_SECRET": "a-client-secret", "SECRET": "shared-with-acme"}
        way = {"CLIENT_CERT": str(certificate), "CLIENT_KEY": str(key), "CA_CERT": authority.pem.decode()}
        variables = {**given, **way, "PROXY_URL": proxy.url}
        environment = Environment({f"ACME_{name}": value for name, value in variables.items()})
        acme = file["partner"](environment)
        environment.check()
        async with http_client() as http:
            calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"acme": acme})
            receipt = await ActivityEnvironment().run(calls.call_partner, CALL)
    assert receipt.reference == "w-1"
    assert (len(server.tokens), len(server.calls), len(proxy.asked)) == (1, 1, 2)
    assert server.calls[0]["x-request-id"] == idempotency_key(CALL)


KIND_ONE = "Kind one: a URL for each call"
HABITS = sorted((ROOT / "tests/activities/habits").glob("[a-z]*.py"))
A_CALLBACK_URL = "https://hooks.test/callbacks/a-token.of-ours"
CALL = StageCall("run-1", "chain-1", 1, "check", "acme", 1, 1_800_000_000, 1_900_000_000, {"company": "X Ltd"})


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


ROOT_PAGES = ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")


@pytest.mark.parametrize("name", [*ROOT_PAGES, *PAGES])
def test_links_into_the_project_lead_somewhere(name: str) -> None:
    folder = ROOT if name in ROOT_PAGES else ROOT / "docs"
    page = (folder / f"{name}.md").read_text()
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose) if "://" not in link]
    assert [link for link in links if not (folder / link.partition("#")[0]).exists()] == []


def test_the_rooms_of_the_architecture_exist() -> None:
    rooms, deliveries = (ROOT / "docs/architecture.md").read_text().split("\nThe store of deliveries, ")
    paths = [ROOT / path for path in paths_in_first_columns(rooms)]
    paths += [ROOT / "receiver/deliveries" / path for path in paths_in_first_columns(deliveries)]
    assert len(paths) > 60
    assert [str(path) for path in paths if not path.exists()] == []


def paths_in_first_columns(page: str) -> list[str]:
    """The paths in a page's tables; `receiver/{a,b}.py` is two."""
    written = [path for row in re.findall(r"^\| ([^|]*`[^|]*) \|", page, re.MULTILINE) for path in row.split(", ")]
    paths = [path.strip("`") for path in written if path.endswith((".py`", "/`"))]
    return [re.sub(r"{.*}", name, path) for path in paths for name in re.sub(r".*{(.*)}.*|.*", r"\1", path).split(",")]
