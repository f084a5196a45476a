"""`stagehook partner new`: what it writes passes, is tidy, and overwrites nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from receiver.cli.stack import stagehook_command
from tests.conftest import BINARIES

ROOT = Path(__file__).parents[2]
CAPTURED = b"""POST /hooks HTTP/1.1
Content-Type: application/json; charset=utf-8
Authorization: Bearer a-credential

{"event": {"type": "check.done"}, "id": "x"}"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the command needs of the project, to be changed."""
    for folder in ("activities", "receiver", "workflows", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def run(project: Path, *command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(
        list(command), cwd=project, env=env, input=given, capture_output=True, timeout=50, check=False
    )


def new(project: Path, *args: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return run(project, *stagehook_command("partner", "new", *args), given=given)


def test_what_it_writes_passes_its_tests_and_ours(project: Path) -> None:
    assert new(project, "acme-pay", "--scheme", "stripe").returncode == 0
    assert new(project, "unsigned", "--scheme", "none").returncode == 0
    assert new(project, "seen", "--scheme", "github", "--from", "-", given=CAPTURED).returncode == 0
    names = ("acme_pay", "unsigned", "seen")
    files = [f"tests/activities/test_{name}.py" for name in names]
    tested = run(project, str(BINARIES / "pytest"), "-q", *files, "tests/test_deliveries.py", "-k", "not demo")
    assert tested.returncode == 0, tested.stdout.decode()
    modules = [f"activities/partners/{name}.py" for name in (*names, "__init__")]
    for check in (["check"], ["format", "--check"]):
        tidy = run(project, str(BINARIES / "ruff"), *check, *files, *modules)
        assert tidy.returncode == 0, tidy.stdout.decode()
    fixture = (project / "tests/deliveries/seen/first.jsonl").read_text()
    assert "a-credential" not in fixture


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["bank"], "PARTNERS has bank already"),
        (["reading"], "activities/partners/reading.py is there already"),
        (["Bad Name"], "is no name for a partner"),
        (["x", "--scheme", "none-such"], "is none of"),
        (["x", "--scheme", "sendgrid"], "needs more than a secret"),
        (["x", "--from", "/nonexistent"], "No such file"),
        (["x", "--from", "-"], "no JSON object with a text named"),
    ],
)
def test_what_it_cannot_do_is_said_and_nothing_is_written(project: Path, args: list[str], says: str) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    done = new(project, *args, given=b"POST / HTTP/1.1\n\nnot JSON")
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_outside_of_the_project_it_says_where_to_run(tmp_path: Path) -> None:
    done = new(tmp_path, "acme")
    assert done.returncode == 2
    assert "run it in the project's folder" in done.stderr.decode()
