"""Scaffold: the texts of a new partner's file, its test and its fixture.

The file and its test are copies of those in `receiver.cli.partner.sample`, with other names and words. A captured
request is untrusted text: its values are written into the files with `repr`.
"""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Final

from activities import strict_json
from activities.callback_urls import Claims
from activities.partners.reading import text_or_empty
from activities.redaction.headers import is_credential
from activities.signatures import SCHEMES
from receiver.cli.errors import CommandError, Exit
from receiver.cli.signature.captured import Captured
from receiver.deliveries.delivery import Delivery, NotADelivery, digest, new_id, placeholder, read_line
from workflows.durations import DAY

KNOWN: Final = ("done", "failed", "working")
"""The statuses that the sample's file reads."""

MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""Two tokens of RFC 9110, 5.6.2, joined by a slash."""

SAMPLE: Final = files("receiver.cli.partner.sample")

SIGNING: Final = 'signature("github", environment, "NEW_PARTNER_SECRET", fix="the signing secret from its dashboard"),'
NOT_SIGNING: Final = "None,  # say here why: the callback URL alone is the proof"


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
            Path(f"activities/partners/{self.module}.py"): self._copy("new_partner.py"),
            Path(f"tests/activities/test_{self.module}.py"): self._copy("test_new_partner.py"),
            Path(f"tests/deliveries/{self.name}/first.jsonl"): self._fixture_text(),
        }

    def names_in_its_test(self) -> set[str]:
        """Return every name in the test's code, except the partner's name."""
        return names_in(replace(self, name="_")._copy("test_new_partner.py"))

    def variables(self) -> dict[str, str]:
        """Return the partner's variables for tests."""
        plain = {f"{self.variable}_URL": f"https://api.{self.name}.example", f"{self.variable}_KEY": "not-a-key"}
        secret = {f"{self.variable}_SECRET": SCHEMES[self.scheme].sample_secret} if self.scheme else {}
        return {**plain, **secret}

    def _copy(self, file: str) -> str:
        """Return a file of the sample, with this partner's names and words."""
        return _replaced(SAMPLE.joinpath(file).read_text("utf-8"), self.changes())

    def changes(self) -> dict[str, str]:
        """Return the texts of the sample that are replaced, each with what replaces it."""
        return {**self._names(), **self._signing(), **self._reading(), **self._sending()}

    def _names(self) -> dict[str, str]:
        unreadable = "from activities.partners.partner import Unreadable\n"
        return {
            "new-partner": self.name,
            "new_partner": self.module,
            "NEW_PARTNER": self.variable,
            "New partner": self.title,
            "from receiver.cli.partner.sample import new_partner\n": "",
            unreadable: f"from activities.partners import {self.module}\n{unreadable}",
        }

    def _signing(self) -> dict[str, str]:
        if self.scheme:
            return {'"github"': f'"{self.scheme}"', '"not-a-secret"': f'"{SCHEMES[self.scheme].sample_secret}"'}
        return {SIGNING: NOT_SIGNING, " signature,": "", '\n    "NEW_PARTNER_SECRET": "not-a-secret",': ""}

    def _reading(self) -> dict[str, str]:
        """Return the changes of the function that reads a callback."""
        read = "text_at" if self._has_number else "text_or_empty"
        return {
            'text_at(event, "status")': f"text_at(event, {', '.join(map(repr, self.path))})",
            'text_at(event, "result", "number")': f'{read}(event, {self._beside("result")!r}, "number")',
            '"working":': '"working":' if self.seen in KNOWN else f'"working" | {self.seen!r}:',
            '"unknown status"': repr(f"unknown {'.'.join(self.path)}"),
            **{f'"{name}"': repr(self._beside(name)) for name in ("result", "code", "message")},
        }

    def _sending(self) -> dict[str, str]:
        """Return the changes of what the partner sends: the media type, and the callbacks in the test."""
        sent = {word: word for word in KNOWN} | {"odd": "other" if self.seen == "odd" else "odd"}
        return {
            '"application/json"': repr(self.content_type),
            **{f'"status": "{old}"': repr(_nested(self.path, word))[1:-1] for old, word in sent.items()},
        }

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
        claims = Claims(f"{self.name}-1", "captured-by-hand", 1, 1, self.name, int(at), int(at + 30 * DAY))
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


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    """Make all changes in a single pass, so that none applies to the captured texts that another writes."""
    longest_first = sorted(changes, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda found: changes[found[0]], text)


def _nested(path: tuple[str, ...], value: str) -> dict[str, object]:
    inner: object = value
    for name in reversed(path):
        inner = {name: inner}
    assert isinstance(inner, dict)
    return inner
