"""`stagehook partner new`: the file of a partner, its line in the list, a fixture, and a test that passes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Final

import click

from activities.callback_urls import Claims
from activities.signatures import SCHEMES
from receiver.cli.captured import Captured, read_request
from receiver.cli.errors import CommandError, Exit
from receiver.deliveries.capture import is_credential
from receiver.deliveries.delivery import Delivery, digest, new_id, placeholder

NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
LONGEST_NAME: Final = 30
LIST: Final = Path("activities/partners/__init__.py")
IMPORTED: Final = re.compile(r"^from activities\.partners import (?:\(([^)]*)\)|(.+)$)", re.MULTILINE)
LISTED: Final = re.compile(r"^(PARTNERS: .*?)^\}$", re.MULTILINE | re.DOTALL)
EXAMPLE: Final = b'{"id": "work-1", "status": "done", "result": {"number": "n-1"}}'
DAY: Final = 86_400

SECRETS: Final = {
    "standard-webhooks": "whsec_bm90LWEtc2VjcmV0LW5vdC1hLXNlY3JldC1u",
    "svix": "whsec_bm90LWEtc2VjcmV0LW5vdC1hLXNlY3JldC1u",
    "basic": "test:not-a-secret",
}
"""Secrets for tests, where a scheme reads them in a form of its own; they protect nothing."""

NEED_MORE: Final = {"sendgrid", "discord", "twilio", "hmac"}
"""Schemes that take more than a secret: a public key, a body that is a form, options of their own."""

MODULE: Final = Template('''"""$title: say in a sentence what it does, and how it answers.

Say what is special about it: how it signs, how it retries, what it calls an answer.
"""

from __future__ import annotations

import httpx

from activities.environment import Environment
from activities.partners.auth import HeaderKey
from activities.partners.partner import Partner, Unreadable, signature, work_reference
from activities.partners.reading import read_object, text_at, text_or_empty
from workflows.contract import Answer, Receipt, StageCall


def partner(environment: Environment) -> Partner:
    """$title, by the variables that begin with ${VAR}_."""
    url = environment.url("${VAR}_URL", fix="the address of its API")
    key = environment.text("${VAR}_KEY", fix="the API key from its dashboard")

    def build_call(call: StageCall, callback_url: str) -> httpx.Request:
        body = {"reference": work_reference(call), "data": call.data, "callback_url": callback_url}
        return httpx.Request("POST", f"{url}/work", json=body)

    return Partner(
        name="$name",
$signature
        build_call=build_call,
        read_receipt=read_receipt,
        read_callback=read_callback,
        auth=HeaderKey("Authorization", f"Bearer {key}"),$content_type
    )


def read_receipt(response: httpx.Response) -> Receipt:
    """Read the answer to a call: the work's id."""
    return Receipt(reference=text_or_empty(read_object(response.content), "id"))


def read_callback(body: bytes) -> Answer:
    """Read a callback."""
    event = read_object(body)
    match text_at(event, $path):
        case "done":
            return Answer("succeeded", data={"number": text_at(event, "result", "number")})
        case "failed":
            return Answer("failed", code=text_or_empty(event, "code"), message=text_or_empty(event, "message"))
        case "working"$seen:
            return Answer("progress")
    raise Unreadable("$dotted is none that is known")
''')

TEST: Final = Template('''"""$title: what it is sent, and how its answers are read."""

from __future__ import annotations

import json

import httpx
import pytest
import respx
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import $module
from activities.partners.partner import Unreadable
from workflows.contract import Answer, StageCall

VARIABLES = {
    "${VAR}_URL": "https://api.$name.example",
    "${VAR}_KEY": "not-a-key",$secret_variable
}
URLS = CallbackURLs("https://hooks.example.com", ["a-key-of-at-least-32-characters-0123"])
CALL = StageCall("run-1", "chain-1", 1, "first", "$name", 1, 1_800_000_000, 1_900_000_000, {"number": "n-1"})


@respx.mock
async def test_the_call_carries_data_key_and_callback_url() -> None:
    route = respx.post("https://api.$name.example/work").respond(202, json={"id": "work-1"})
    partner = $module.partner(Environment(VARIABLES))
    async with http_client() as http:
        calls = PartnerCalls(http, URLS, {"$name": partner})
        receipt = await ActivityEnvironment().run(calls.call_partner, CALL)
    request: httpx.Request = route.calls.last.request
    sent = json.loads(request.content)
    assert receipt.reference == "work-1"
    assert request.headers["Authorization"] == "Bearer not-a-key"
    assert sent["data"] == {"number": "n-1"}
    assert sent["callback_url"].startswith("https://hooks.example.com/callbacks/")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({$done, "result": {"number": "n-1"}}, Answer("succeeded", data={"number": "n-1"})),
        ({$failed, "code": "c", "message": "m"}, Answer("failed", code="c", message="m")),
        ({$working}, Answer("progress")),
    ],
)
def test_a_callback_is_read_into_our_words(body: dict[str, object], answer: Answer) -> None:
    assert $module.read_callback(json.dumps(body).encode()) == answer


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{$odd}'])
def test_anything_else_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        $module.read_callback(body)
''')


@dataclass(frozen=True)
class Scaffold:
    """What is written for one partner.

    path: where in a callback's body its status stands. seen: the status of the captured one.
    """

    name: str
    scheme: str
    captured: Captured
    path: tuple[str, ...]
    seen: str

    @property
    def module(self) -> str:
        """The module's name."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """What its variables begin with."""
        return self.module.upper()

    @property
    def content_type(self) -> str:
        """The media type of its callbacks."""
        given = [value for name, value in self.captured.headers if name.lower() == "content-type"]
        return given[0].partition(";")[0].strip().lower() if given else "application/json"

    def files(self) -> dict[Path, str]:
        """Every file that is new, with its text."""
        return {
            Path(f"activities/partners/{self.module}.py"): self._module_text(),
            Path(f"tests/activities/test_{self.module}.py"): self._test_text(),
            Path(f"tests/deliveries/{self.name}/first.jsonl"): json.dumps(self._fixture().as_json()) + "\n",
        }

    def variables(self) -> dict[str, str]:
        """Its variables for tests."""
        plain = {f"{self.variable}_URL": f"https://api.{self.name}.example", f"{self.variable}_KEY": "not-a-key"}
        secret = {f"{self.variable}_SECRET": SECRETS.get(self.scheme, "not-a-secret")} if self.scheme else {}
        return {**plain, **secret}

    def _module_text(self) -> str:
        fix = "the signing secret from its dashboard"
        signed = f'        signature=signature("{self.scheme}", environment, "{self.variable}_SECRET", fix="{fix}"),'
        unsigned = "        signature=None,  # say here why: the callback URL alone is the proof"
        plain = self.content_type == "application/json"
        text = MODULE.substitute(
            title=self.title,
            name=self.name,
            VAR=self.variable,
            signature=signed if self.scheme else unsigned,
            content_type="" if plain else f'\n        content_type="{self.content_type}",',
            path=", ".join(f'"{part}"' for part in self.path),
            dotted=".".join(self.path),
            seen=f" | {json.dumps(self.seen)}" if self.seen not in {"", "done", "failed", "working"} else "",
        )
        return (
            text if self.scheme else text.replace("Unreadable, signature, work_reference", "Unreadable, work_reference")
        )

    def _test_text(self) -> str:
        bodies = {
            status: json.dumps(_nested(self.path, status))[1:-1] for status in ("done", "failed", "working", "odd")
        }
        secret = self.variables().get(f"{self.variable}_SECRET", "")
        return TEST.substitute(
            title=self.title,
            name=self.name,
            module=self.module,
            VAR=self.variable,
            secret_variable=f'\n    "{self.variable}_SECRET": "{secret}",' if secret else "",
            **bodies,
        )

    @property
    def title(self) -> str:
        """Its name in prose."""
        return self.name.replace("-", " ").capitalize()

    def _fixture(self) -> Delivery:
        """The captured request as if it had been received for the first stage of a run, and taken."""
        at = self.captured.received_at or time.time()
        claims = Claims(f"{self.name}-1", "captured-by-hand", 1, 1, self.name, int(at), int(at) + 30 * DAY)
        body = self.captured.body
        return Delivery(
            id=new_id(at),
            received_at=at,
            method="POST",
            target=f"/callbacks/{placeholder(claims)}",
            headers=tuple((name, value) for name, value in self.captured.headers if not is_credential(name)),
            body=body,
            body_size=len(body),
            body_digest=digest(body),
            says="succeeded" if self.seen == "done" else "failed" if self.seen == "failed" else "progress",
            verdict="accepted",
            status=202,
            **vars(claims),
        )


@click.command()
@click.argument("name")
@click.option("--scheme", default="standard-webhooks", show_default=True, help="How it signs: a name, or `none`.")
@click.option("--from", "captured", default="", metavar="FILE|-", help="A callback of its own: a raw HTTP request.")
def new(name: str, scheme: str, captured: str) -> None:
    """Write the file of a partner NAME, its line in the list, a fixture and a test that passes.

    Run it in the project's folder. With --from the fixture is that request, whose status is read as progress until you
    say what it means.
    """
    scaffold = _scaffold(name, scheme, captured)
    if not LIST.is_file():
        raise CommandError(f"there is no {LIST} here", "run it in the project's folder", Exit.USAGE)
    files, listed = scaffold.files(), _listed(LIST.read_text(), scaffold)
    if present := [str(path) for path in files if path.exists()]:
        raise CommandError(f"{present[0]} is there already", "choose another name, or remove what is there", Exit.USAGE)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        click.echo(f"wrote {path}")
    LIST.write_text(listed)
    click.echo(f"added it to PARTNERS in {LIST}")
    with Path("tests/deliveries/test.env").open("a") as variables:
        variables.writelines(f"{variable}={value}\n" for variable, value in scaffold.variables().items())
    click.echo("added its variables to tests/deliveries/test.env")
    _tidy([LIST, *(path for path in files if path.suffix == ".py")])
    click.echo(f"next: make test ARGS='tests/activities/test_{scaffold.module}.py tests/test_deliveries.py'", err=True)


def _tidy(paths: Sequence[Path]) -> None:
    """Format the files, where the project's formatter is installed: names have any length."""
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.exists():
        for words in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
            subprocess.run([str(ruff), *words, *map(str, paths)], check=False)


def _scaffold(name: str, scheme: str, file: str) -> Scaffold:
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        what = f"use up to {LONGEST_NAME} lower-case letters and digits, words joined by hyphens"
        raise click.BadParameter(f"{name!r} is no name for a partner: {what}")
    if scheme not in {*SCHEMES, "none"}:
        raise click.BadParameter(f"--scheme {scheme} is none of {', '.join(SCHEMES)}, none")
    if scheme in NEED_MORE:
        raise click.BadParameter(f"--scheme {scheme} needs more than a secret: take another, and change it in the file")
    captured = read_request(file, ()) if file else Captured([("Content-Type", "application/json")], EXAMPLE)
    path, seen = _status_in(captured.body)
    return Scaffold(name, "" if scheme == "none" else scheme, captured, path, seen)


def _status_in(body: bytes) -> tuple[tuple[str, ...], str]:
    """Where the body says how the work stands, and what it says there."""
    try:
        levels: list[tuple[tuple[str, ...], Any]] = [((), json.loads(body))]
    except ValueError:
        levels = []
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
    what = "the body is no JSON object with a text named status, state, result, type or event"
    raise CommandError(what, "begin without --from, and write `read_callback` for that body", Exit.USAGE)


def _nested(path: tuple[str, ...], value: str) -> dict[str, object]:
    inner: object = value
    for name in reversed(path):
        inner = {name: inner}
    assert isinstance(inner, dict)
    return inner


def _listed(text: str, scaffold: Scaffold) -> str:
    """The list of partners with one more; raises `CommandError` if it is there, or the list is not as expected."""
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
