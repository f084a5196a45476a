"""Add a partner: its file, its line in the list, a fixture, and a test that passes."""

from __future__ import annotations

import builtins
import json
import keyword
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from activities.callback_urls import PARTNERS_PATH
from activities.partners.partner import StageBy
from activities.partners.received import Unreadable
from activities.signatures import SCHEMES
from activities.variables import VARIABLES
from receiver.body import LARGEST_BODY
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note, say
from receiver.cli.partner.copying import WORK, copy, names_in, names_in_its_test
from receiver.cli.partner.finding import FoundPaths, find
from receiver.cli.partner.fixture import fixture_text
from receiver.cli.partner.forms import Form, form_of
from receiver.cli.partner.scaffold import Scaffold, received_of
from receiver.cli.signature.captured import Captured, read_request

PARTNER_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
LONGEST_NAME: Final = 30
LIST: Final = Path("activities/partners/__init__.py")
IMPORTED: Final = re.compile(r"^from activities\.partners import (?:\(([^)]*)\)|(.+)$)", re.MULTILINE)
LISTED: Final = re.compile(r"^(PARTNERS: .*?)^\}$", re.MULTILINE | re.DOTALL)


def add_partner(name: str, scheme: str, stage_by: StageBy, captured: str, headers: Sequence[str] = ()) -> None:
    """Write the partner's files and lines, and print them. Raises `CommandError`.

    captured: a file with a callback of its own, or "". headers: of the callback, if the file is only its body.
    """
    scaffold = _scaffold(name, scheme, stage_by, captured, headers)
    if not LIST.is_file():
        raise CommandError(f"there is no {LIST} here", "run it in the project's folder", Exit.USAGE)
    files, listed = _files(scaffold), _listed(LIST.read_text(), scaffold)
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
        variables.writelines(f"{variable}={value}\n" for variable, value in _variables(scaffold).items())
    say("added its variables to tests/deliveries/test.env")
    _tidy([LIST, *(path for path in files if path.suffix == ".py")])
    if captured:
        note(_what_is_read(scaffold))
    if scaffold.has_one_url:
        note(f"have it send its callbacks to {PARTNERS_PATH}{name}, below PUBLIC_URL")
    if scaffold.stage_by == "reference" or scaffold.found.events is not None:
        note("its callbacks can only be kept with a store: set DATABASE_URL for web and worker")
    note(f"next: make test ARGS='tests/activities/test_{scaffold.module}.py tests/test_deliveries.py'")


def _files(scaffold: Scaffold) -> dict[Path, str]:
    """Return the new files with their texts; raises `CommandError` for a request that cannot become a fixture."""
    return {
        Path(f"activities/partners/{scaffold.module}.py"): copy(scaffold, "new_partner.py"),
        Path(f"tests/activities/test_{scaffold.module}.py"): copy(scaffold, "test_new_partner.py"),
        Path(f"tests/deliveries/{scaffold.name}/first.jsonl"): fixture_text(scaffold),
    }


def _variables(scaffold: Scaffold) -> dict[str, str]:
    """Return the partner's variables for tests."""
    begin = scaffold.variable
    plain = {f"{begin}_URL": f"https://api.{scaffold.name}.example", f"{begin}_KEY": "not-a-key"}
    secret = {f"{begin}_SECRET": SCHEMES[scaffold.scheme].sample_secret} if scaffold.scheme else {}
    return {**plain, **secret}


def _what_is_read(scaffold: Scaffold) -> str:
    """Return what was found in the captured request, for the user to correct."""
    found = scaffold.found
    status = f"its status is {found.seen!r}, read at {'.'.join(found.status)}"
    read = [status if found.names_status else "nothing in it names a status: every callback is read as progress"]
    if found.events is not None:
        read.append(f"its events are at {'.'.join(found.events) or 'the top'}")
    if scaffold.stage_by == "token":
        what = "our callback URL comes back" if found.token else "it holds no callback URL of ours, which is expected"
        read.append(f"{what} at {'.'.join(scaffold.token)}")
    if scaffold.stage_by == "reference":
        what = "its id of the work is" if found.reference else "it holds no id of the work, which is expected"
        read.append(f"{what} at {'.'.join(scaffold.reference)}")
    return f"{'; '.join(read)}; if {'it' if len(read) == 1 else 'any'} is elsewhere, change the file and its test"


def _why_taken(scaffold: Scaffold) -> str:
    """Return why the name would break the files that use it, or ""."""
    module = scaffold.module
    if keyword.iskeyword(module):
        return "it is a word of Python's"
    if hasattr(builtins, module):
        return "it is a name that Python gives"
    if module in names_in_its_test(scaffold) | names_in(LIST.read_text()):
        return "its test or the list of partners gives that name to something else"
    if found := {*VARIABLES, "TEMPORAL_API_KEY"} & _variables(scaffold).keys():
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


def _scaffold(name: str, scheme: str, stage_by: StageBy, file: str, headers: Sequence[str]) -> Scaffold:
    if not PARTNER_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        what = f"use up to {LONGEST_NAME} lower-case letters and digits, words joined by hyphens"
        raise click.BadParameter(f"{name!r} is not a name for a partner: {what}")
    _check_scheme(scheme, stage_by)
    captured = read_request(file, headers, bare=True) if file else _example(stage_by)
    if len(captured.body) > LARGEST_BODY:
        what = f"its body has {len(captured.body)} bytes, and the receiver takes at most {LARGEST_BODY}"
        raise click.BadParameter(f"the captured request makes no fixture: {what}")
    form, found = _find(captured)
    return Scaffold(name, "" if scheme == "none" else scheme, stage_by, captured, form, found)


def _check_scheme(scheme: str, stage_by: StageBy) -> None:
    if scheme not in {*SCHEMES, "none"}:
        raise click.BadParameter(f"unknown scheme {scheme}: use one of {', '.join(SCHEMES)}, none")
    if scheme in SCHEMES and not SCHEMES[scheme].sample_secret:
        raise click.BadParameter(f"--scheme {scheme} needs more than a secret: take another, and change it in the file")
    if stage_by != "url" and (scheme == "none" or not (SCHEMES[scheme].covers_body or SCHEMES[scheme].covers_event)):
        what = f"--scheme {scheme} does not sign the body, and at a partner's one URL the signature is the only proof"
        raise click.BadParameter(f"{what}: take a scheme that does, and change it in the file")


def _example(stage_by: StageBy) -> Captured:
    """A callback of a partner of which none was captured."""
    more = {"metadata": {"callback_url": "{a-run/1/1}"}} if stage_by == "token" else {}
    body = {"id": WORK, "status": "done", "result": {"number": "n-1"}, **more}
    return Captured([("Content-Type", "application/json")], json.dumps(body).encode())


def _find(captured: Captured) -> tuple[Form, FoundPaths]:
    """Return the form of the captured body, and what is where in it; raises `CommandError`."""
    advice = "begin without --from, and write `read_event` for that body"
    try:
        received = received_of(captured)
        form = form_of(received)
        found = find(form.read(received))
    except Unreadable as error:
        raise CommandError(f"the body cannot be read: {error}", advice, Exit.USAGE) from None
    if found is None:
        raise CommandError("the body holds no text that an event could be read from", advice, Exit.USAGE)
    return form, found


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
