"""Scaffold: the texts of a new partner's file, its test and its fixture.

A captured request is untrusted text: its values are written into the files with `repr`.
"""

from __future__ import annotations

import ast
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Final

from activities import strict_json
from activities.callback_urls import Claims
from activities.partners.reading import text_or_empty
from activities.signatures import SCHEMES
from receiver.cli.errors import CommandError, Exit
from receiver.cli.signature.captured import Captured
from receiver.deliveries.credentials import is_credential
from receiver.deliveries.delivery import Delivery, NotADelivery, digest, new_id, placeholder, read_line

DAY: Final = 86_400

MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""Two tokens of RFC 9110, 5.6.2, joined by a slash."""

MODULE: Final = Template('''"""$title: say in a sentence what it does, and how it answers.

Say what is special about it: how it signs, how it retries, what it calls an answer.
"""

from __future__ import annotations

import httpx

from activities.environment import Environment
from activities.partners.auth import HeaderKey
from activities.partners.partner import Partner, Unreadable,$signed work_reference
from activities.partners.reading import read_object, text_at, text_or_empty
from workflows.contract import Answer, Receipt, StageCall


def partner(environment: Environment) -> Partner:
    """$title, by the variables that begin with ${VAR}_."""
    url = environment.url("${VAR}_URL", fix="the address of its API")
    key = environment.secret("${VAR}_KEY", fix="the API key from its dashboard")

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
            return Answer("succeeded", data={"number": $read(event, $result, "number")})
        case "failed":
            return Answer("failed", code=text_or_empty(event, $code), message=text_or_empty(event, $message))
        case "working"$seen:
            return Answer("progress")
    raise Unreadable($unknown)
''')

TEST: Final = Template('''"""$title: what it is sent, and how its answers are read."""

from __future__ import annotations

import json

import httpx
import pytest
import respx
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import http_client
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
        ($done, Answer("succeeded", data={"number": "n-1"})),
        ($failed, Answer("failed", code="c", message="m")),
        ($working, Answer("progress")),
    ],
)
def test_a_callback_is_read_into_our_words(body: dict[str, object], answer: Answer) -> None:
    assert $module.read_callback(json.dumps(body).encode()) == answer


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", json.dumps($odd).encode()])
def test_anything_else_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        $module.read_callback(body)
''')


@dataclass(frozen=True)
class Scaffold:
    """The files and variables of a new partner.

    path: the path of the status in a callback's body. seen: the status in the captured callback.
    """

    name: str
    scheme: str
    captured: Captured
    path: tuple[str, ...]
    seen: str

    @property
    def module(self) -> str:
        """The name of the partner's module."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The prefix of the partner's variables."""
        return self.module.upper()

    @property
    def content_type(self) -> str:
        """The media type of the partner's callbacks; raises `CommandError` if the captured one is invalid."""
        given = [value for name, value in self.captured.headers if name.lower() == "content-type"]
        media_type = given[0].partition(";")[0].strip().lower() if given else "application/json"
        if not MEDIA_TYPE.fullmatch(media_type):
            what = "the Content-Type of the captured request is not a media type"
            raise CommandError(what, "set it right in what was captured, for example application/json", Exit.USAGE)
        return media_type

    def files(self) -> dict[Path, str]:
        """Return the new files with their texts; raises `CommandError` for a request that cannot become a fixture."""
        return {
            Path(f"activities/partners/{self.module}.py"): self._module_text(),
            Path(f"tests/activities/test_{self.module}.py"): self._test_text(),
            Path(f"tests/deliveries/{self.name}/first.jsonl"): self._fixture_text(),
        }

    def names_in_its_test(self) -> set[str]:
        """Return every name in the test's code, except the partner's name."""
        return names_in(replace(self, name="_")._test_text())

    def variables(self) -> dict[str, str]:
        """Return the partner's variables for tests."""
        plain = {f"{self.variable}_URL": f"https://api.{self.name}.example", f"{self.variable}_KEY": "not-a-key"}
        secret = {f"{self.variable}_SECRET": SCHEMES[self.scheme].sample_secret} if self.scheme else {}
        return {**plain, **secret}

    def _module_text(self) -> str:
        fix = "the signing secret from its dashboard"
        given = f'        signature=signature("{self.scheme}", environment, "{self.variable}_SECRET", fix="{fix}"),'
        unsigned = "        signature=None,  # say here why: the callback URL alone is the proof"
        plain = self.content_type == "application/json"
        return MODULE.substitute(
            title=self.title,
            name=self.name,
            VAR=self.variable,
            signed=" signature," if self.scheme else "",
            signature=given if self.scheme else unsigned,
            content_type="" if plain else f"\n        content_type={self.content_type!r},",
            path=", ".join(map(repr, self.path)),
            unknown=repr(f"unknown {'.'.join(self.path)}"),
            seen="" if self.seen in {"done", "failed", "working"} else f" | {self.seen!r}",
            read="text_at" if self._has_number else "text_or_empty",
            **{name: repr(self._beside(name)) for name in ("result", "code", "message")},
        )

    def _test_text(self) -> str:
        bodies: dict[str, dict[str, object]] = {
            "done": {**_nested(self.path, "done"), self._beside("result"): {"number": "n-1"}},
            "failed": {**_nested(self.path, "failed"), self._beside("code"): "c", self._beside("message"): "m"},
            "working": _nested(self.path, "working"),
            "odd": _nested(self.path, "other" if self.seen == "odd" else "odd"),
        }
        secret = self.variables().get(f"{self.variable}_SECRET", "")
        return TEST.substitute(
            title=self.title,
            name=self.name,
            module=self.module,
            VAR=self.variable,
            secret_variable=f'\n    "{self.variable}_SECRET": "{secret}",' if secret else "",
            **{status: repr(body) for status, body in bodies.items()},
        )

    @property
    def title(self) -> str:
        """The partner's name in prose."""
        return self.name.replace("-", " ").capitalize()

    def _beside(self, name: str) -> str:
        """Return the name of a member next to the status. If the status is inside that member, add `other_`."""
        return f"other_{name}" if name == self.path[0] else name

    @property
    def _has_number(self) -> bool:
        """Whether the captured request has the result that is read for the status `done`; True for other statuses."""
        body = strict_json.loads(self.captured.body)
        return self.seen != "done" or bool(text_or_empty(body, self._beside("result"), "number"))

    def _fixture_text(self) -> str:
        text = json.dumps(self._fixture().as_json())
        try:
            read_line(text.encode())
        except NotADelivery as error:
            what = f"the captured request makes no fixture: {error}"
            raise CommandError(what, "set it right in what was captured", Exit.USAGE) from error
        return text + "\n"

    def _fixture(self) -> Delivery:
        """Make a delivery of the captured request, as if it had been received for a run's first stage, and taken."""
        at = self.captured.received_at or time.time()
        claims = Claims(f"{self.name}-1", "captured-by-hand", 1, 1, self.name, int(at), int(at) + 30 * DAY)
        body = self.captured.body
        headers = [(name, value) for name, value in self.captured.headers if not is_credential(name)]
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", self.content_type))  # otherwise the answer would be 415
        return Delivery(
            id=new_id(at),
            received_at=at,
            method="POST",
            target=f"/callbacks/{placeholder(claims)}",
            headers=tuple(headers),
            body=body,
            body_size=len(body),
            body_digest=digest(body),
            says="succeeded" if self.seen == "done" else "failed" if self.seen == "failed" else "progress",
            verdict="accepted",
            status=202,
            **vars(claims),
        )


def names_in(code: str) -> set[str]:
    """Return every name that Python code defines or uses."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.alias(name=name, asname=given):
                names.add(given or name)
    return names


def _nested(path: tuple[str, ...], value: str) -> dict[str, object]:
    inner: object = value
    for name in reversed(path):
        inner = {name: inner}
    assert isinstance(inner, dict)
    return inner
