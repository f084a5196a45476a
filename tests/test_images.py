"""Dockerfile and compose file: what they name exists, and the steps of the build run, without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from activities.variables import VARIABLES
from receiver.cli import stagehook

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
STEPS = [tuple(line.split(" ", 1)) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]


def values(word: str) -> list[str]:
    return [rest for step, rest in STEPS if step == word]


def test_the_image_copies_only_what_is_sent_to_the_build() -> None:
    sent = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    copied = {name for rest in values("COPY") if not rest.startswith("--from") for name in rest.split()[:-1]}
    assert copied == sent
    assert IGNORED[1] == "*"
    assert all((ROOT / name).exists() for name in sent)


def test_what_is_sent_to_the_build_links_to_what_is_sent() -> None:
    """Docker sends a link as a link; what it leads to is missing from the image unless it is sent as well."""
    sent = [(ROOT / line.removeprefix("!")).resolve() for line in IGNORED if line.startswith("!")]
    links = [path for name in sent for path in (name.rglob("*") if name.is_dir() else ()) if path.is_symlink()]
    assert links
    lost = [str(link) for link in links if not any(link.resolve().is_relative_to(one) for one in sent)]
    assert not lost


def test_the_image_runs_as_a_user_without_rights() -> None:
    uid = re.search(r"--uid ([0-9]+)", DOCKERFILE)
    assert uid is not None
    assert values("USER") == [uid[1]] != ["0"]


def test_the_image_has_a_python_that_the_project_takes() -> None:
    tags = set(re.findall(r"^FROM python:3\.([0-9]+)-slim", DOCKERFILE, re.MULTILINE))
    assert len(tags) == 1
    assert int(tags.pop()) >= 11


def test_images_run_commands_that_exist() -> None:
    compose = re.findall(r"command: \[stagehook, ([^\]]+)\]", COMPOSE)
    run = [json.loads(values("CMD")[-1])[1:], *(words.split(", ") for words in compose)]
    assert sorted(run) == [["db", "upgrade"], ["serve"], ["serve"], ["worker"]]
    for first, *rest in run:
        command = stagehook.get_command(None, first)  # type: ignore[arg-type]
        assert command is not None
        assert not rest or command.get_command(None, rest[0]) is not None  # type: ignore[attr-defined]


def test_the_compose_file_sets_variables_that_exist() -> None:
    shared = COMPOSE.partition("x-stagehook")[2].partition("services:")[0]
    named = set(re.findall(r"^    ([A-Z_]+):", shared, re.MULTILINE))
    assert {name for name in named if not name.startswith("TEMPORAL_")} <= set(VARIABLES)
    assert {"PUBLIC_URL", "CALLBACK_KEYS", "DATABASE_URL", "TEMPORAL_ADDRESS"} <= named
    assert "\t" not in COMPOSE


def test_the_compose_file_passes_on_the_partners_variables() -> None:
    """Their names are known to the partners' files only; and the file that holds them has secrets."""
    [file] = re.findall(r"env_file:\n    - path: (\S+)\n      required: false", COMPOSE)
    assert file in (ROOT / ".gitignore").read_text().splitlines()
    assert file not in {line.removeprefix("!") for line in IGNORED}


def test_the_health_check_of_the_image_is_python() -> None:
    [check] = values("HEALTHCHECK")
    words = json.loads(check[check.index("[") :])
    assert words[:2] == ["python", "-c"]
    compile(words[2], "HEALTHCHECK", "exec")


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_the_steps_of_the_build_make_an_installation(tmp_path: Path) -> None:
    """The first stage, in a folder in place of /app, with the Python at hand."""
    app = tmp_path / "app"
    app.mkdir()
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    env = {"PATH": f"{Path(uv).parent}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/root")}
    env |= {name: os.environ[name] for name in os.environ if name.startswith(("UV_", "PIP_", "SSL_"))}
    for step, rest in STEPS[: STEPS.index(next(step for step in STEPS[1:] if step[0] == "FROM"))]:
        if step == "ENV":
            env |= dict(word.split("=", 1) for word in rest.replace("/app", str(app)).split())
        elif step == "COPY":
            *sources, to = rest.split()
            for source in sources:
                target = app / (source if to == "./" else to)
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, target, symlinks=True)  # as Docker does
                else:
                    shutil.copy(ROOT / source, target)
        elif step == "RUN" and not rest.startswith("pip "):
            command = shlex.split(rest.replace("/usr/local/bin/python3", sys.executable))
            done = subprocess.run(command, cwd=app, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    for name in ("workflows", "activities", "receiver"):
        shutil.rmtree(app / name)  # the second stage has the installation alone
    shown = subprocess.run(
        [str(app / ".venv/bin/stagehook"), "--help"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (shown.returncode, "serve" in shown.stdout, "worker" in shown.stdout) == (0, True, True), shown.stderr
    assert not list(app.glob(".venv/bin/temporal*"))
