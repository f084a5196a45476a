"""`stagehook partner new`: what it writes passes, is tidy, and overwrites nothing.

A run of pytest, ruff or mypy takes seconds to start. So partners of all kinds are written into one project, and each
tool runs once on all of them. `make test` writes some of them, `make faults` all.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Container, Iterable
from itertools import cycle
from pathlib import Path

import pytest

from activities.partners.partner import StageBy
from activities.signatures import SCHEMES
from receiver.cli.partner import KINDS
from receiver.cli.partner.copying import SAMPLE, sample_changes
from receiver.cli.partner.finding import FoundPaths
from receiver.cli.partner.forms import JSON
from receiver.cli.partner.scaffold import Scaffold
from receiver.cli.signature.captured import Captured
from receiver.deliveries.delivery import read_line
from tests.commands import Done, command
from tests.parts.partner_captures import CAPTURED, CAPTURES, CODE, DELIVERIES, ROOT, SHAPES, TOKEN, captured
from tests.parts.temporal import BINARIES
from tests.parts.terminals import answered

pytestmark = pytest.mark.system

SCHEMES_WITH_A_SAMPLE = [name for name in SCHEMES if SCHEMES[name].sample_secret]
NAMES = ("acme-pay", "match", "case", "email", "event", "x1", "x10", "x2")
"""Among them words that only sometimes mean something in Python, and numbers that two programs sort differently."""


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


def write_all(project: Path, wanted: Container[str] | None = None) -> list[str]:
    """Write a partner for each capture; together they have every name and every scheme. Return their names.

    The two without a capture are signed and unsigned. wanted: write only the partners with these names.
    """
    written = []
    schemes = cycle([*SCHEMES_WITH_A_SAMPLE[:1], "none", *SCHEMES_WITH_A_SAMPLE[1:]])
    names = [*NAMES, *(f"odd-{place}" for place in range(len(NAMES), len(CAPTURES)))]
    assert len(CAPTURES) > len(SCHEMES_WITH_A_SAMPLE)
    for name, scheme, capture in zip(names, schemes, CAPTURES, strict=False):
        if wanted is not None and name not in wanted:
            continue
        written.append(name)
        given = ("--from", "-") if capture else ()
        assert new(project, name, "--scheme", scheme, *given, given=capture).code == 0
    signing = cycle(name for name in SCHEMES_WITH_A_SAMPLE if SCHEMES[name].covers_body)
    for place, (kind, shape, more) in enumerate(SHAPES):
        options = ("--from", "-", *more) if shape else ()
        name, scheme = f"{kind}-{place}", next(signing)
        if wanted is not None and name not in wanted:
            continue
        written.append(name)
        made = new(project, name, "--kind", kind, "--scheme", scheme, *options, given=shape)
        assert made.code == 0, made.err
    return written


def written_tests(names: Iterable[str]) -> list[str]:
    """The paths of the tests that were written for these partners."""
    return [f"tests/activities/test_{name.replace('-', '_')}.py" for name in names]


def replays_of(names: Iterable[str]) -> list[str]:
    """The tests that answer the captures of these partners."""
    return [f"{DELIVERIES}::test_a_capture_is_answered_as_it_was[{name}/first.jsonl]" for name in names]


def one_of_each() -> set[str]:
    """The first partner of each kind, and the first whose callbacks have this media type, as a list or not."""
    found: dict[str, str] = {}
    for place, (kind, shape, _) in enumerate(SHAPES):
        head, _, body = shape.replace(b"\r", b"").partition(b"\n\n")
        for sort in (kind, (re.findall(rb"Content-Type: ([^;\n]*)", head), body[:1] == b"[")):
            found.setdefault(str(sort), f"{kind}-{place}")
    return set(found.values())


def are_tidy(project: Path) -> None:
    for check in (["check"], ["format", "--check"]):
        run(project, "ruff", *check, "activities/partners", "tests/activities")


RUNNING_CODE = [place for place, capture in enumerate(CAPTURES) if b"touch pwned" in capture]
SOME = {*NAMES, *(f"odd-{place}" for place in RUNNING_CODE), *one_of_each()}
"""One without a capture and signed, one unsigned, every name, what would run as code, and one of each form."""


@pytest.mark.timeout(300)  # a run of pytest within
@pytest.mark.parametrize(
    "wanted",
    [pytest.param(SOME, marks=pytest.mark.system, id="some"), pytest.param(None, marks=pytest.mark.fault, id="all")],
)
def test_what_it_writes_passes_its_tests_and_ours_and_is_tidy(project: Path, wanted: set[str] | None) -> None:
    written = write_all(project, wanted)
    assert wanted is None or set(written) == wanted
    are_tidy(project)
    ours = [f"{DELIVERIES}::test_a_capture_of_any_partner_can_be_dropped_in", *replays_of(sorted(one_of_each()))]
    run(project, "pytest", "-q", *written_tests(written), *ours)
    assert not list(project.rglob("pwned"))
    assert (
        "a-credential" not in (project / f"tests/deliveries/{NAMES[CAPTURES.index(CAPTURED)]}/first.jsonl").read_text()
    )


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_every_capture_that_it_writes_is_answered_as_it_was(project: Path) -> None:
    run(project, "pytest", "-q", *replays_of(write_all(project)))


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_whatever_it_writes_has_the_right_types(project: Path) -> None:
    """Takes long without the cache that `make check` leaves."""
    if (cache := ROOT / ".mypy_cache").exists():
        shutil.copytree(cache, project / ".mypy_cache")
    written = write_all(project)
    run(project, "mypy", "activities/partners", *written_tests(written))


@pytest.mark.parametrize("scheme", ["", "basic"])
@pytest.mark.parametrize("stage_by", KINDS.values())
@pytest.mark.parametrize("events", [None, (), ("events",)])
@pytest.mark.parametrize("names_status", [True, False])
def test_everything_that_is_replaced_is_in_the_sample(
    scheme: str, stage_by: StageBy, events: tuple[str, ...] | None, *, names_status: bool
) -> None:
    texts = [SAMPLE.joinpath(file).read_text("utf-8") for file in ("new_partner.py", "test_new_partner.py")]
    body: object = {"status": "s"} if events is None else [{"status": "s"}] if events == () else {"events": [{}]}
    found = FoundPaths(events, {"status": "s"}, ("status",), "s", names_status=names_status)
    scaffold = Scaffold("x", scheme, stage_by, Captured([], json.dumps(body).encode()), JSON, found)
    assert [old for old in sample_changes(scaffold) if not any(old in text for text in texts)] == []


def stage_by_of(project: Path, name: str) -> str:
    text = (project / f"activities/partners/{name}.py").read_text()
    return text.partition('stage_by="')[2].partition('"')[0] or "url"


@pytest.mark.system
@pytest.mark.parametrize("kind", KINDS)
def test_the_fixture_comes_to_the_url_that_the_partner_calls(project: Path, kind: str) -> None:
    assert new(project, "acme", "--kind", kind).code == 0
    fixture = read_line((project / "tests/deliveries/acme/first.jsonl").read_bytes())
    assert stage_by_of(project, "acme") == KINDS[kind]
    assert fixture.target == ("/callbacks/{acme-1/1/1}" if kind == "one" else "/partners/acme")
    assert fixture.body is not None
    assert (b"{acme-1/1/1}" in fixture.body) == (kind == "two")
    assert fixture.reference == ("work-1" if kind == "three" else "")


def test_a_captured_token_is_not_written_down(project: Path) -> None:
    carrying = {"status": "done", "metadata": {"callback": TOKEN}}
    assert new(project, "acme", "--kind", "two", "--from", "-", given=captured(carrying)).code == 0
    written = [path.read_text() for path in project.rglob("*acme*/*") if path.is_file()]
    written += [path.read_text() for path in project.rglob("*acme.py")]
    assert len(written) == 3
    assert TOKEN.rpartition("/")[2] not in "".join(written)
    assert 'text_or_empty(event, "metadata", "callback")' in "".join(written)


@pytest.mark.parametrize("kind", ["two", "three"])
@pytest.mark.parametrize("scheme", ["none", "basic", "bearer"])
def test_one_url_needs_a_signature_that_covers_the_body(untouched: Path, kind: str, scheme: str) -> None:
    made = new(untouched, "not-to-be-made", "--kind", kind, "--scheme", scheme)
    assert (made.code, "the signature is the only proof" in made.err) == (2, True)


def test_the_kind_is_asked_for_on_a_terminal(project: Path) -> None:
    with contextlib.chdir(project):
        done = answered(b"three\n", "partner", "new", "acme")
    assert (done.code, "has one URL" in done.err) == (0, True), done.err
    assert stage_by_of(project, "acme") == "reference"


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


@pytest.mark.system
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
        (["x", "--from", "-"], "it is neither JSON nor XML"),
        (["x", "--header", "A: b"], "--header is about the body that --from names"),
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
