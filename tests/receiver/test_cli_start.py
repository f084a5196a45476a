"""Starting: what `--help` and a TAB import, and what a TAB completes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.partners import PARTNERS
from receiver.cli import names, stagehook
from receiver.cli.demo.processes import bare_environment
from receiver.cli.demo.stack import stagehook_command
from receiver.cli.errors import Exit
from tests.commands import Done, command
from tests.support import SOON, stage, start
from workflows.pipelines import PIPELINES

HEAVY = {
    "alembic",
    "cryptography",
    "httpx",
    "jinja2",
    "markupsafe",
    "hypothesis",
    "itsdangerous",
    "prometheus_client",
    "psycopg",
    "rich",
    "sqlalchemy",
    "starlette",
    "temporalio",
    "uvicorn",
}
SECRET = "a-callback-key-for-tests-0123456789-abcdef"
TELLING = """
import os, sys
before = set(sys.modules)
from receiver.cli import run
code = run(sys.argv[1:])
top = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(top - set(sys.stdlib_module_names)), file=sys.stderr)
os._exit(code)
"""
"""Runs a command, and then names the top-level modules that it has imported, but for Python's own."""

LISTING = """
import json, sys
from receiver.cli import run
commands = json.load(sys.stdin)
found = []
for words in commands:
    before = set(sys.modules)
    if run([*words, "--help"]):
        raise SystemExit(" ".join(words))
    found.append(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
json.dump(found, sys.stderr)
"""
"""Asks each command for its help, and then lists the top-level modules that each of them was the first to import."""

PEAK = """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0])
"""


def groups(group: click.Group = stagehook, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every group and command."""
    context = click.Context(group)
    yield path
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        if isinstance(inner, click.Group):
            yield from groups(inner, (*path, name))
        else:
            yield (*path, name)


def imported(*words: str, env: Mapping[str, str] = {}, code: int = 0) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", TELLING, *words], env={**bare_environment(), **env}, capture_output=True, check=False
    )
    assert (done.returncode, bool(done.stdout)) == (code, code == 0), done.stderr
    return set(done.stderr.decode().splitlines()[-1].split())


def completing(typed: str, **env: str) -> dict[str, str]:
    """The variables by which bash asks what may stand in place of the last word."""
    last = str(len(typed.split(" ")) - 1)
    return {**env, "_STAGEHOOK_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": last}


def completed(typed: str, **env: str) -> list[str]:
    """What bash is told."""
    done = subprocess.run(
        stagehook_command(), env={**bare_environment(), **completing(typed, **env)}, capture_output=True, check=True
    )
    assert done.stderr == b""
    return words_in(done.stdout.decode())


def completed_here(typed: str, **env: str) -> list[str]:
    """What bash would be told, but in this process."""
    options: dict[str, Any] = completing(typed, **env)
    done = command(**options)
    assert (done.code, done.err) == (0, "")
    return words_in(done.out)


def words_in(told: str) -> list[str]:
    return [line.partition(",")[2] for line in told.splitlines() if line]


def test_help_imports_click_and_ours_alone() -> None:
    assert imported("--help") <= {"click", "receiver", "activities"}


def test_no_help_imports_what_is_heavy() -> None:
    """All in one process, so that each module is found with the first command that imports it."""
    commands = list(groups())
    done = subprocess.run(
        [sys.executable, "-c", LISTING], input=json.dumps(commands).encode(), capture_output=True, check=True
    )
    found = dict(zip(map(" ".join, commands), json.loads(done.stderr), strict=True))
    assert {words: HEAVY & set(modules) for words, modules in found.items() if HEAVY & set(modules)} == {}


@pytest.mark.parametrize(
    "typed",
    [
        "stagehook pipe",
        "stagehook delivery replay --",
        "stagehook pipeline start o",
        "stagehook pipeline show o",
        "stagehook signature sign --scheme st",
        "stagehook partner new x --scheme st",
    ],
)
def test_a_tab_imports_nothing_heavy(typed: str) -> None:
    assert imported(env=completing(typed, TEMPORAL_ADDRESS="")) & HEAVY == set()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("token", "inspect", "x"), Exit.BAD_TOKEN),
        pytest.param(("pipeline", "start", "none"), Exit.NOT_FOUND, marks=pytest.mark.system),
    ],
)
def test_a_command_without_a_store_imports_no_sqlalchemy(words: tuple[str, ...], code: Exit) -> None:
    assert "sqlalchemy" not in imported(*words, env={"CALLBACK_KEYS": SECRET}, code=code)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells it there")
def test_help_takes_little_cpu_and_memory() -> None:
    """Three times what is promised: 0.25 s and 40 MB."""
    # Not ru_maxrss: it begins with the size of the process that has started this one.
    program = "import os; from receiver.cli import run; run(['--help']); print(sum(os.times()[:2]))"
    done = subprocess.run([sys.executable, "-c", program + PEAK], capture_output=True, check=True)
    cpu, kib = done.stdout.split()[-2:]
    assert float(cpu) < 0.75
    assert int(kib) < 120 * 1024


# --- the shells


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_asks_stagehook_what_to_complete(shell: str) -> None:
    done = command("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_STAGEHOOK_COMPLETE={shell}_complete" in done.out


def test_a_shell_that_is_not_known_is_a_usage_error() -> None:
    done = command("completion", "tcsh")
    assert (done.code, done.out) == (2, "")
    assert "'bash', 'zsh', 'fish'" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["pipe"], {"pipeline"}),
        (["pipeline", "st"], {"start"}),
        (["pipeline", "list", "--li"], {"--limit"}),
        (["delivery", "replay", "--mode", "re"], {"resign"}),
        (["signature", "sign", "--scheme", "git"], {"github"}),
        (["completion", "z"], {"zsh"}),
    ],
)
def test_every_shell_is_told_commands_options_and_choices(shell: str, typed: list[str], wanted: set[str]) -> None:
    # fish gives the word that is typed instead of its number.
    place = typed[-1] if shell == "fish" else str(len(typed))
    asked: dict[str, Any] = {"_STAGEHOOK_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(["stagehook", *typed])}
    done = command(**asked, COMP_CWORD=place)
    assert (done.code, done.err) == (0, "")
    assert wanted <= set(done.out.replace(",", "\n").replace("\t", "\n").splitlines())


@pytest.mark.system
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "wanted"),
    [("pipe", "pipeline"), ("pipeline wat", "watch"), ("pipeline list --lim", "--limit")],
)
def test_bash_itself_completes(typed: str, wanted: str, tmp_path: Path) -> None:
    script = tmp_path / "stagehook.bash"
    script.write_text(command("completion", "bash").out)
    words = ["stagehook", *typed.split()]
    line = (
        f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        '_stagehook_completion stagehook; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(stagehook_command()[0]).parent}:{os.environ['PATH']}"
    env = {**bare_environment(), "PATH": path}
    done = subprocess.run(["bash", "--norc", "-c", line], env=env, capture_output=True, check=True)
    assert done.stdout.decode().split() == [wanted]


# --- names


def run(*words: str, **env: str) -> Done:
    """Run a command in this process, and keep names after it as `main` does."""
    done = command(*words, given=b"", **env)
    with patch.dict(os.environ, env):
        names.remember()
    return done


@pytest.mark.system
def test_commands_keep_names_that_a_tab_completes(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    assert completed("stagehook pipeline start ", XDG_CACHE_HOME=cache) == []
    settings = {**bare_environment(), "XDG_CACHE_HOME": cache}
    assert subprocess.run(stagehook_command("pipeline", "start", "none"), env=settings, check=False).returncode == 4
    assert completed("stagehook pipeline start ", XDG_CACHE_HOME=cache) == sorted(PIPELINES)
    assert completed("stagehook delivery list --partner ", XDG_CACHE_HOME=cache) == sorted(PARTNERS)
    assert completed("stagehook delivery list --pipeline on", XDG_CACHE_HOME=cache) == ["onboarding"]


def test_the_file_of_names_is_private_and_written_once(tmp_path: Path) -> None:
    file = tmp_path / "stagehook" / "names.json"
    for _ in range(2):
        run("pipeline", "start", "none", XDG_CACHE_HOME=str(tmp_path), CALLBACK_KEYS=SECRET)
        os.utime(file, (1, 1))
    again = run("pipeline", "start", "none", XDG_CACHE_HOME=str(tmp_path), CALLBACK_KEYS=SECRET)
    assert (again.code, file.stat().st_mtime) == (4, 1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"partners": sorted(PARTNERS), "pipelines": sorted(PIPELINES)}
    assert [path.name for path in file.parent.iterdir()] == ["names.json"]


def test_names_that_changed_replace_what_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "stagehook" / "names.json"
    file.parent.mkdir()
    file.write_text('{"pipelines": ["removed"], "later": 1}')
    run("pipeline", "start", "none", XDG_CACHE_HOME=str(tmp_path))
    assert json.loads(file.read_text())["pipelines"] == sorted(PIPELINES)


@pytest.mark.parametrize("home", ["/dev/null", "/proc", ""])
def test_no_command_fails_for_want_of_a_place_for_names(home: str) -> None:
    done = run("pipeline", "start", "none", XDG_CACHE_HOME=home, HOME=home or "/dev/null")
    assert done.code == 4
    assert done.err.splitlines()[0] == "error: no pipeline is named none"
    assert completed_here("stagehook pipeline start ", XDG_CACHE_HOME=home, HOME=home or "/dev/null") == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pipelines": 3}', '{"pipelines": [1, "a\\u001b", "b\\nc"]}'])
def test_a_damaged_file_of_names_completes_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "stagehook").mkdir()
    (tmp_path / "stagehook" / "names.json").write_text(text)
    assert completed_here("stagehook pipeline start ", XDG_CACHE_HOME=str(tmp_path)) == []
    (tmp_path / "stagehook" / "names.json").write_text('{"pipelines": ["kept"]}')
    assert completed_here("stagehook pipeline start ", XDG_CACHE_HOME=str(tmp_path)) == ["kept"]


# --- runs


async def listed(client: Client, workflow_id: str) -> None:
    """Return when Temporal lists the run, which may take longer than to start it."""
    async with asyncio.timeout(3 * SOON):
        while workflow_id not in [run.id async for run in client.list_workflows()]:
            await asyncio.sleep(0.05)


@pytest.mark.system
async def test_ids_of_runs_come_from_temporal(real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "RUNS_TIMEOUT", 30)  # the machine may be busy
    monkeypatch.setenv("TEMPORAL_ADDRESS", real.client.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", real.client.namespace)
    await start(real.client, stage(1), id="to-complete")
    await listed(real.client, "to-complete")
    assert await asyncio.to_thread(names.latest_runs) == ["to-complete"]
    shown = await asyncio.to_thread(names.RUN_ID.shell_complete, click.Context(stagehook), click.Argument(["x"]), "to-")
    assert [item.value for item in shown] == ["to-complete"]


def test_a_tab_asks_no_temporal_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was asked"))
    assert names.latest_runs() == []


def test_a_silent_temporal_completes_nothing_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        assert names.latest_runs() == []
        assert time.monotonic() - begun < 3
