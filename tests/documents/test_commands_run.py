"""Commands on the pages, run in the order of their page, do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from activities.partners import PARTNERS
from receiver.cli.demo.processes import free_port
from tests.parts.pages import (
    ADDING,
    EVENT_BASED,
    FIRST_STEPS,
    KIND_ONE,
    MAKE,
    OPERATING,
    PIPELINES,
    RELIABILITY,
    REPLAY,
    ROOT,
    SIGNATURES,
    blocks,
    commands,
    python_under,
)
from tests.parts.temporal import BINARIES


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
