"""`stagehook partner new`: what it writes passes, is tidy, and overwrites nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from activities.signatures import SCHEMES
from tests.commands import Done, command
from tests.conftest import BINARIES

pytestmark = pytest.mark.timeout(120)  # a run of pytest within

ROOT = Path(__file__).parents[2]
CAPTURED = b"""POST /hooks HTTP/1.1
Content-Type: application/json; charset=utf-8
Authorization: Bearer a-credential

{"event": {"type": "check.done"}, "id": "x"}"""

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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the command needs of the project, to be changed."""
    for folder in ("activities", "receiver", "workflows", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def run(project: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(list(words), cwd=project, env=env, capture_output=True, timeout=100, check=False)


def new(project: Path, *args: str, given: bytes = b"") -> Done:
    with contextlib.chdir(project):
        return command("partner", "new", *args, given=given)


def run_tests(project: Path, names: Iterable[str]) -> None:
    """Run the tests that were written for these partners, and every fixture but those of the samples."""
    files = [f"tests/activities/test_{name.replace('-', '_')}.py" for name in names]
    tested = run(project, str(BINARIES / "pytest"), "-q", *files, "tests/test_deliveries.py", "-k", "not demo")
    assert tested.returncode == 0, tested.stdout.decode()


def are_tidy(project: Path) -> None:
    for check in (["check"], ["format", "--check"]):
        tidy = run(project, str(BINARIES / "ruff"), *check, "activities/partners", "tests/activities")
        assert tidy.returncode == 0, tidy.stdout.decode()


def test_what_it_writes_passes_its_tests_and_ours(project: Path) -> None:
    assert new(project, "acme-pay", "--scheme", "stripe").code == 0
    assert new(project, "unsigned", "--scheme", "none").code == 0
    assert new(project, "seen", "--scheme", "github", "--from", "-", given=CAPTURED).code == 0
    run_tests(project, ("acme-pay", "unsigned", "seen"))
    are_tidy(project)
    fixture = (project / "tests/deliveries/seen/first.jsonl").read_text()
    assert "a-credential" not in fixture


def test_every_scheme_that_is_taken_has_a_test_that_passes(project: Path) -> None:
    names = {
        scheme: f"by-{scheme}" for scheme in ("none", *SCHEMES) if scheme == "none" or SCHEMES[scheme].sample_secret
    }
    for scheme, name in names.items():
        assert new(project, name, "--scheme", scheme).code == 0
    run_tests(project, names.values())


def test_words_that_only_sometimes_mean_something_are_names(project: Path) -> None:
    names = ("match", "case", "email", "event", "x1", "x10", "x2")
    assert [new(project, name).code for name in names] == [0] * len(names)
    run_tests(project, names)
    are_tidy(project)


def test_whatever_was_captured_gives_files_that_pass(project: Path) -> None:
    """Keys and texts of any kind, those that would run as code among them."""
    captures = [
        *(captured({text: {"status": text}}, "application/vnd.acme+json") for text in ODD_TEXTS),
        *(captured({name: {"status": "s"}}) for name in ("result", "code", "message")),
        *(captured({"status": word}) for word in ("done", "failed", "working", "odd")),
        captured({"result": "a text"}),
        b'POST / HTTP/1.1\nX-No: content type\n\n{"status": "s"}',
    ]
    for place, capture in enumerate(captures):
        assert new(project, f"odd-{place}", "--from", "-", given=capture).code == 0
    run_tests(project, [f"odd-{place}" for place in range(len(captures))])
    assert not list(project.rglob("pwned"))


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
def test_a_content_type_that_is_none_is_refused(project: Path, given: str) -> None:
    made = new(project, "not-to-be-made", "--from", "-", given=captured({"status": "s"}, given))
    assert made.code == 2
    assert "the Content-Type of the captured request is not a media type" in made.err
    assert not (project / "activities/partners/not_to_be_made.py").exists()


LARGE = base64.b64encode(b'{"status": "%s"}' % (b"s" * 1024 * 1024)).decode()
CHANGES: list[dict[str, object]] = [
    {"headers": [["X", "\u20ac"]]},
    {"headers": [["X Y", "z"]]},
    {"received_at": 1e11},
    {"body": LARGE},
]


@pytest.mark.parametrize("change", CHANGES, ids=["a header", "a name", "a time", "a body"])
def test_a_request_that_no_fixture_can_hold_is_refused(project: Path, change: dict[str, object]) -> None:
    body = base64.b64encode(b'{"status": "s"}').decode()
    recorded = {"target": "/x", "headers": [], "body": body, **change}
    made = new(project, "not-to-be-made", "--from", "-", given=json.dumps(recorded).encode())
    assert made.code == 2
    assert "the captured request makes no fixture" in made.err
    assert not (project / "activities/partners/not_to_be_made.py").exists()


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
def test_what_it_cannot_do_is_said_and_nothing_is_written(project: Path, args: list[str], says: str) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    done = new(project, *args, given=b"POST / HTTP/1.1\n\nnot JSON")
    assert done.code == 2
    assert says in done.err
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_outside_of_the_project_it_says_where_to_run(tmp_path: Path) -> None:
    done = new(tmp_path, "acme")
    assert done.code == 2
    assert "run it in the project's folder" in done.err
