"""`stagehook dev` as a process: behind a tunnel, ended by a part or a signal, and installed from a wheel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from receiver.cli.demo.running import INPUT
from receiver.cli.demo.stack import stagehook_command
from tests.commands import run_in_process
from tests.local_stack import eventually, heed_ctrl_c
from tests.parts.dev_systems import dev_environment, dev_settings
from tests.parts.tunnels import tunnel

ROOT = Path(__file__).parents[1]
ENDS_WITHIN = 3 * 7.0
READY_AFTER = 3 * 40.0
PARTS = ("temporal", "partner", "web", "worker")


def parts_of(folder: Path) -> dict[str, int]:
    """The processes that have this folder in their environment, by the words of their commands."""
    listed = subprocess.run(["ps", "axeww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in listed.splitlines() if f"TMPDIR={folder}" in line]
    words = {"temporal": "start-dev", "partner": "partner", "web": "serve", "worker": "worker"}
    commands = {name: [int(line[0]) for line in lines if word in line[:8]] for name, word in words.items()}
    commands["web"] = [pid for pid in commands["web"] if pid not in commands["partner"]]
    return {name: pids[0] for name, pids in commands.items() if pids}


@contextmanager
def dev(folder: Path, *command: str, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A ready `stagehook dev` in this folder, and the file of what it prints."""
    out = folder / "dev.out"
    words = [*(command or stagehook_command()), "dev"]
    with out.open("wb") as file:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=dev_environment(folder, **env),
            stdout=file,
            stderr=file,
            preexec_fn=heed_ctrl_c,
        )
    try:
        eventually(lambda: "Ctrl-C ends everything" in out.read_text() or process.poll() is not None, READY_AFTER)
        assert process.poll() is None, out.read_text()
        yield process, out
    finally:
        process.kill()
        process.wait()


def start_and_wait(env: dict[str, str], id_: str) -> None:
    words = ("pipeline", "start", "onboarding", "--id", id_, "--wait", "--input", json.dumps(INPUT))
    done = run_in_process(words, b"", env)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.system
def test_a_run_completes_through_a_tunnel_until_a_part_ends(tmp_path: Path) -> None:
    settings = dev_settings(tmp_path)
    with (
        tunnel(tmp_path, int(settings["PORT"])) as made,
        dev(tmp_path, PUBLIC_URL=made.url, SSL_CERT_FILE=str(made.authority)) as (process, out),
    ):
        start_and_wait({**settings, "PUBLIC_URL": made.url, "DEVELOPMENT": "1"}, "first")
        assert made.connections
        store = {"DATABASE_URL": f"sqlite:///{tmp_path}/.dev/stagehook.db"}
        listed = run_in_process(("delivery", "list", "--json"), b"", {**settings, **store})
        assert {one["verdict"] for one in json.loads(listed.stdout)} == {"accepted"}
        found = run_in_process(("pipeline", "list", "--pipeline", "onboarding", "--json"), b"", settings)
        assert [run["workflow_id"] for run in json.loads(found.stdout)] == ["first"]
        parts = parts_of(tmp_path)
        assert set(parts) == set(PARTS)
        os.kill(parts["worker"], signal.SIGKILL)
        assert process.wait(ENDS_WITHIN) == 1
        assert "error: worker was ended by SIGKILL; the end of its log:" in out.read_text()
    eventually(lambda: parts_of(tmp_path) == {})


@pytest.fixture
def heeded_hangup() -> Iterator[None]:
    """A process that `nohup` has started ignores SIGHUP, and so do the processes that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.fault  # make test ends such processes in tests/receiver/test_demo_processes.py
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.usefixtures("heeded_hangup")
def test_every_end_of_dev_ends_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    dev_settings(tmp_path)
    with dev(tmp_path) as (process, out):
        assert set(parts_of(tmp_path)) == set(PARTS)
        process.send_signal(number)
        assert process.wait(ENDS_WITHIN) == (-9 if number == signal.SIGKILL else 130)
        eventually(lambda: parts_of(tmp_path) == {}, ENDS_WITHIN)
    assert "\nerror: " not in out.read_text()


@pytest.mark.fault  # it installs a wheel
@pytest.mark.timeout(400)
def test_demo_and_dev_run_from_an_installed_wheel(tmp_path: Path) -> None:
    """The extra `demo` brings what both need; neither needs the project's folder."""
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    installed, empty, other = (tmp_path / name for name in ("venv", "empty", "other"))
    empty.mkdir()
    other.mkdir()
    building = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(installed), "UV_PYTHON": sys.executable}
    words = ["sync", "--locked", "--no-default-groups", "--extra", "demo", "--no-editable", "--quiet"]
    subprocess.run([uv, *words, "--project", str(ROOT)], env=building, check=True)
    command = str(installed / "bin" / "stagehook")
    env = {**dev_environment(empty), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([command, "demo"], cwd=empty, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "onboarding" in done.stdout
    assert "make" not in done.stdout.partition("next:")[2]
    settings = dev_settings(other)
    with dev(other, command, PATH="/usr/bin:/bin") as (process, out):
        start_and_wait(settings, "installed")
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDS_WITHIN) == 130, out.read_text()
    eventually(lambda: parts_of(other) == {}, ENDS_WITHIN)
    for word in ("web", "worker", "temporal", "partner"):
        assert f"{word:8} | " in out.read_text()
