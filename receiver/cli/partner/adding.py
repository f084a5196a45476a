"""Add a partner: its file, its line in the list, a fixture, and a test that passes."""

from __future__ import annotations

import builtins
import keyword
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from activities import strict_json
from activities.signatures import SCHEMES
from activities.variables import VARIABLES
from receiver.body import LARGEST_BODY
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note, say
from receiver.cli.partner.scaffold import Scaffold, names_in
from receiver.cli.signature.captured import Captured, read_request

PARTNER_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
LONGEST_NAME: Final = 30
LIST: Final = Path("activities/partners/__init__.py")
IMPORTED: Final = re.compile(r"^from activities\.partners import (?:\(([^)]*)\)|(.+)$)", re.MULTILINE)
LISTED: Final = re.compile(r"^(PARTNERS: .*?)^\}$", re.MULTILINE | re.DOTALL)
EXAMPLE: Final = b'{"id": "work-1", "status": "done", "result": {"number": "n-1"}}'


def add_partner(name: str, scheme: str, captured: str) -> None:
    """Write the partner's files and lines, and print them. captured: a file, or "". Raises `CommandError`."""
    scaffold = _scaffold(name, scheme, captured)
    if not LIST.is_file():
        raise CommandError(f"there is no {LIST} here", "run it in the project's folder", Exit.USAGE)
    files, listed = scaffold.files(), _listed(LIST.read_text(), scaffold)
    if present := [str(path) for path in files if path.exists()]:
        raise CommandError(f"{present[0]} is there already", "choose another name, or remove what is there", Exit.USAGE)
    if why := _why_taken(scaffold):
        example = f"for example {name}-partner"
        raise CommandError(f"a partner cannot be named {name}: {why}", f"choose another name, {example}", Exit.USAGE)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        say(f"wrote {path}")
    LIST.write_text(listed)
    say(f"added it to PARTNERS in {LIST}")
    with Path("tests/deliveries/test.env").open("a") as variables:
        variables.writelines(f"{variable}={value}\n" for variable, value in scaffold.variables().items())
    say("added its variables to tests/deliveries/test.env")
    _tidy([LIST, *(path for path in files if path.suffix == ".py")])
    if captured:
        where = ".".join(scaffold.path)
        note(f"its status is {scaffold.seen!r}, read at {where}; if it is elsewhere, change the file and its test")
    note(f"next: make test ARGS='tests/activities/test_{scaffold.module}.py tests/test_deliveries.py'")


def _why_taken(scaffold: Scaffold) -> str:
    """Return why the name would break the files that use it, or ""."""
    module = scaffold.module
    if keyword.iskeyword(module):
        return "it is a word of Python's"
    if hasattr(builtins, module):
        return "it is a name that Python gives"
    if module in scaffold.names_in_its_test() | names_in(LIST.read_text()):
        return "its test or the list of partners gives that name to something else"
    if found := {*VARIABLES, "TEMPORAL_API_KEY"} & scaffold.variables().keys():
        return f"{found.pop()} would be its variable, and means something else"
    return ""


def _tidy(paths: Sequence[Path]) -> None:
    """Format the files, if the project's formatter is installed, because a long name changes the layout."""
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        return
    # Format first, so that the check does not report lines that are only too long.
    for words in (["format"], ["check", "--fix"]):
        done = subprocess.run([str(ruff), *words, *map(str, paths)], capture_output=True, check=False)
    if done.returncode:
        note("`ruff check` has remarks about what is written: a captured word is long, or looks like another")


def _scaffold(name: str, scheme: str, file: str) -> Scaffold:
    if not PARTNER_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        what = f"use up to {LONGEST_NAME} lower-case letters and digits, words joined by hyphens"
        raise click.BadParameter(f"{name!r} is not a name for a partner: {what}")
    if scheme not in {*SCHEMES, "none"}:
        raise click.BadParameter(f"unknown scheme {scheme}: use one of {', '.join(SCHEMES)}, none")
    if scheme in SCHEMES and not SCHEMES[scheme].sample_secret:
        raise click.BadParameter(f"--scheme {scheme} needs more than a secret: take another, and change it in the file")
    captured = read_request(file, ()) if file else Captured([("Content-Type", "application/json")], EXAMPLE)
    if len(captured.body) > LARGEST_BODY:
        what = f"its body has {len(captured.body)} bytes, and the receiver takes at most {LARGEST_BODY}"
        raise click.BadParameter(f"the captured request makes no fixture: {what}")
    path, seen = _status_in(captured.body)
    return Scaffold(name, "" if scheme == "none" else scheme, captured, path, seen)


def _status_in(body: bytes) -> tuple[tuple[str, ...], str]:
    """Return the path of the work's status in the body, and the status."""
    why = ""
    try:
        levels: list[tuple[tuple[str, ...], Any]] = [((), strict_json.loads(body))]
    except strict_json.NotStrictJSON as error:
        levels, why = [], f": {error}"
    while levels:
        for name in ("status", "state", "result", "type", "event", "event_type"):
            for path, value in levels:
                if isinstance(value, dict) and isinstance(value.get(name), str):
                    return (*path, name), value[name]
        levels = [
            ((*path, name), inner)
            for path, value in levels
            if isinstance(value, dict)
            for name, inner in value.items()
            if isinstance(inner, dict)
        ]
    what = f"the body is no JSON object with a text named status, state, result, type or event{why}"
    raise CommandError(what, "begin without --from, and write `read_event` for that body", Exit.USAGE)


def _listed(text: str, scaffold: Scaffold) -> str:
    """Add the partner to the list's text; raises `CommandError` if it is listed, or the list has an unexpected form."""
    imported, listed = IMPORTED.search(text), LISTED.search(text)
    if imported is None or listed is None:
        what = f"{LIST} has no import of partners or no PARTNERS that this command can add to"
        raise CommandError(what, "add the import and the line by hand, as README says")
    names = {name.strip() for name in (imported[1] or imported[2]).split(",") if name.strip()}
    if f'"{scaffold.name}":' in listed[1]:
        raise CommandError(f"PARTNERS has {scaffold.name} already", "choose another name", Exit.USAGE)
    text = text.replace(listed[0], f'{listed[1]}    "{scaffold.name}": {scaffold.module}.partner,\n}}')
    lines = "".join(f"    {name},\n" for name in sorted({*names, scaffold.module}))
    return text.replace(imported[0], f"from activities.partners import (\n{lines})")
