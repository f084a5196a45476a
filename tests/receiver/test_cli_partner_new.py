"""`stagehook partner new`: what it writes passes, is tidy, and overwrites nothing.

A run of pytest, ruff or mypy takes seconds to start. So partners of all kinds are written into one project, and each
tool runs once on all of them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from itertools import cycle
from pathlib import Path

import pytest

from activities.signatures import SCHEMES
from receiver.cli.partner.scaffold import SAMPLE, Scaffold
from receiver.cli.signature.captured import Captured
from tests.commands import Done, command
from tests.parts.temporal import BINARIES

ROOT = Path(__file__).parents[2]
CAPTURED = b"""POST /hooks HTTP/1.1
Content-Type: application/json; charset=utf-8
Authorization: Bearer a-credential

{"event": {"type": "check.done"}, "id": "x"}"""

SCHEMES_WITH_A_SAMPLE = [name for name in SCHEMES if SCHEMES[name].sample_secret]
NAMES = ("acme-pay", "match", "case", "email", "event", "x1", "x10", "x2")
"""Among them words that only sometimes mean something in Python, and numbers that two programs sort differently."""

CODE = '__import__("os").system("touch pwned")'
ODD_TEXTS = (
    "it's",
    'a "quote"',
    'it\'s a "quote"',
    "back\\slash\\",
    "caf\u00e9",
    "\U0001f600",
    "two\nlines",
    "$name ${VAR} {x}",
    "",
    f'"): {CODE} #',
    f"'): {CODE} #",
)


def captured(body: object, content_type: str = "application/json") -> bytes:
    return f"POST / HTTP/1.1\nContent-Type: {content_type}\n\n{json.dumps(body, ensure_ascii=False)}".encode()


CAPTURES = (
    b"",
    b"",
    CAPTURED,
    *(captured({text: {"status": text}}, "application/vnd.acme+json") for text in ODD_TEXTS),
    *(captured({name: {"status": "s"}}) for name in ("result", "code", "message")),
    *(captured({"status": word}) for word in ("done", "failed", "working", "odd")),
    captured({"result": "a text"}),
    b'POST / HTTP/1.1\nX-No: content type\n\n{"status": "s"}',
    captured({'it\'s case "working":': {"status": 'New partner, NEW_PARTNER, "result"'}}),
)
"""Requests with keys and texts of any kind, those that would run as code among them; b"" for none."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copied(tmp_path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project for commands that must change nothing."""
    return copied(tmp_path_factory.mktemp("untouched"))


def copied(folder: Path) -> Path:
    """Copy what the command needs of the project."""
    for name in ("activities", "receiver", "workflows", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / "README.md", folder)
    return folder


def run(project: Path, *words: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(project)}
    command = [str(BINARIES / words[0]), *words[1:]]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout.decode()


def new(project: Path, *args: str, given: bytes = b"") -> Done:
    with contextlib.chdir(project):
        return command("partner", "new", *args, given=given)


def write_all(project: Path) -> list[str]:
    """Write a partner for each capture; together they have every name and every scheme. Return the paths of the tests.

    The two without a capture are signed and unsigned.
    """
    schemes = cycle([*SCHEMES_WITH_A_SAMPLE[:1], "none", *SCHEMES_WITH_A_SAMPLE[1:]])
    names = [*NAMES, *(f"odd-{place}" for place in range(len(NAMES), len(CAPTURES)))]
    assert len(CAPTURES) > len(SCHEMES_WITH_A_SAMPLE)
    for name, scheme, capture in zip(names, schemes, CAPTURES, strict=False):
        given = ("--from", "-") if capture else ()
        assert new(project, name, "--scheme", scheme, *given, given=capture).code == 0
    return [f"tests/activities/test_{name.replace('-', '_')}.py" for name in names]


def are_tidy(project: Path) -> None:
    for check in (["check"], ["format", "--check"]):
        run(project, "ruff", *check, "activities/partners", "tests/activities")


@pytest.mark.timeout(300)  # a run of pytest within
def test_what_it_writes_passes_its_tests_and_ours_and_is_tidy(project: Path) -> None:
    written = write_all(project)
    are_tidy(project)
    run(project, "pytest", "-q", *written, "tests/test_deliveries.py", "-k", "not demo")
    assert not list(project.rglob("pwned"))
    assert (
        "a-credential" not in (project / f"tests/deliveries/{NAMES[CAPTURES.index(CAPTURED)]}/first.jsonl").read_text()
    )


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_whatever_it_writes_has_the_right_types(project: Path) -> None:
    """Takes long without the cache that `make check` leaves."""
    if (cache := ROOT / ".mypy_cache").exists():
        shutil.copytree(cache, project / ".mypy_cache")
    written = write_all(project)
    run(project, "mypy", "activities/partners", *written)


@pytest.mark.parametrize("scheme", ["", "basic"])
def test_everything_that_is_replaced_is_in_the_sample(scheme: str) -> None:
    texts = [SAMPLE.joinpath(file).read_text("utf-8") for file in ("new_partner.py", "test_new_partner.py")]
    scaffold = Scaffold("x", scheme, Captured([], b"{}"), ("status",), "s")
    assert [old for old in scaffold.changes() if not any(old in text for text in texts)] == []


def test_what_is_only_long_is_formatted_without_a_word(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing frightening is printed; what no formatter can mend is said in a line."""
    name = "a-name-of-thirty-characters-xx"
    path = captured({"a-key-of-some-length": {"another-key-of-that-length": {"status": "s" * 40}}})
    said = new(project, name, "--scheme", "adyen-platform", "--from", "-", given=path).err
    assert said.count("\n") == 2, "what its status is, and what is next"
    are_tidy(project)
    assert "E501" not in "".join(capfd.readouterr())
    remarks = new(project, "wordy", "--from", "-", given=captured({"status": "s" * 200})).err.splitlines()
    assert remarks[0].startswith("`ruff check` has remarks")
    assert "E501" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("given", [f'a",rate={CODE}or 5.0,loopback_only=not "x', "json", "a/b c", "a/'b'()", "/", ""])
def test_a_content_type_that_is_none_is_refused(untouched: Path, given: str) -> None:
    made = new(untouched, "not-to-be-made", "--from", "-", given=captured({"status": "s"}, given))
    assert made.code == 2
    assert "the Content-Type of the captured request is not a media type" in made.err
    assert not (untouched / "activities/partners/not_to_be_made.py").exists()


LARGE = base64.b64encode(b'{"status": "%s"}' % (b"s" * 1024 * 1024)).decode()
CHANGES: list[dict[str, object]] = [
    {"headers": [["X", "\u20ac"]]},
    {"headers": [["X Y", "z"]]},
    {"received_at": 1e11},
    {"body": LARGE},
]


@pytest.mark.parametrize("change", CHANGES, ids=["a header", "a name", "a time", "a body"])
def test_a_request_that_no_fixture_can_hold_is_refused(untouched: Path, change: dict[str, object]) -> None:
    body = base64.b64encode(b'{"status": "s"}').decode()
    recorded = {"target": "/x", "headers": [], "body": body, **change}
    made = new(untouched, "not-to-be-made", "--from", "-", given=json.dumps(recorded).encode())
    assert made.code == 2
    assert "the captured request makes no fixture" in made.err
    assert not (untouched / "activities/partners/not_to_be_made.py").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["bank"], "PARTNERS has bank already"),
        (["reading"], "activities/partners/reading.py is there already"),
        (["class"], "it is a word of Python's"),
        (["list"], "it is a name that Python gives"),
        *(([name], "gives that name to something else") for name in ("json", "httpx", "pytest", "respx", "partial")),
        *(([name], "gives that name to something else") for name in ("annotations", "request", "load-partners")),
        (["http"], "tests/activities/test_http.py is there already"),
        (["public"], "PUBLIC_URL would be its variable"),
        (["temporal-api"], "TEMPORAL_API_KEY would be its variable"),
        (["Bad Name"], "is not a name for a partner"),
        (["x", "--scheme", "none-such"], "unknown scheme none-such: use one of"),
        (["x", "--scheme", "sendgrid"], "needs more than a secret"),
        (["x", "--from", "/nonexistent"], "No such file"),
        (["x", "--from", "-"], "no JSON object with a text named"),
    ],
)
def test_what_it_cannot_do_is_said_and_nothing_is_written(untouched: Path, args: list[str], says: str) -> None:
    before = {path: path.read_bytes() for path in untouched.rglob("*") if path.is_file()}
    done = new(untouched, *args, given=b"POST / HTTP/1.1\n\nnot JSON")
    assert done.code == 2
    assert says in done.err
    assert {path: path.read_bytes() for path in untouched.rglob("*") if path.is_file()} == before


def test_outside_of_the_project_it_says_where_to_run(tmp_path: Path) -> None:
    done = new(tmp_path, "acme")
    assert done.code == 2
    assert "run it in the project's folder" in done.err
