"""Scaffold: what is known about a new partner, and the names in its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from activities.partners.partner import StageBy
from activities.partners.received import GZIP, Received
from receiver.cli.errors import CommandError, Exit
from receiver.cli.partner.finding import FoundPaths
from receiver.cli.partner.forms import FieldPath, Form, at
from receiver.cli.signature.captured import Captured

KNOWN: Final = ("done", "failed", "working")
"""The statuses that the sample's file reads."""

MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""Two tokens of RFC 9110, 5.6.2, joined by a slash."""


@dataclass(frozen=True)
class Scaffold:
    """A new partner.

    scheme: how it signs, or "". captured: a callback of it, in this form. found: what is where in the callback.
    """

    name: str
    scheme: str
    stage_by: StageBy
    captured: Captured
    form: Form
    found: FoundPaths

    @property
    def module(self) -> str:
        """The name of the partner's module."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The prefix of the partner's variables."""
        return self.module.upper()

    @property
    def title(self) -> str:
        """The partner's name in prose."""
        return self.name.replace("-", " ").capitalize()

    @property
    def has_one_url(self) -> bool:
        """Whether it sends everything to one webhook URL."""
        return self.stage_by != "url"

    @property
    def content_type(self) -> str:
        """The media type of the partner's callbacks; raises `CommandError` if the captured one is invalid."""
        received = Received(b"", tuple(self.captured.headers))
        media_type = received.media_type if received.headers_named("content-type") else "application/json"
        if not MEDIA_TYPE.fullmatch(media_type):
            what = "the Content-Type of the captured request is not a media type"
            raise CommandError(what, "set it right in what was captured, for example application/json", Exit.USAGE)
        return media_type

    @property
    def is_zipped(self) -> bool:
        """Whether the captured body is compressed."""
        return any(name.lower() == "content-encoding" and text.lower() in GZIP for name, text in self.captured.headers)

    @property
    def events(self) -> Sequence[Any]:
        """The events of the captured request."""
        body = self.form.read(received_of(self.captured))
        found: Sequence[Any] = [body] if self.found.events is None else at(body, self.found.events)
        return found

    @property
    def reference(self) -> FieldPath:
        """The path of the work's id in an event."""
        return self.found.reference or (self._unused("id"),)

    @property
    def token(self) -> FieldPath:
        """The path of our callback URL in an event."""
        metadata = self.found.event.get("metadata", {})
        is_flat = self.form.is_flat or not isinstance(metadata, dict)
        return self.found.token or ((self._unused("callback_url"),) if is_flat else ("metadata", "callback_url"))

    @property
    def number(self) -> FieldPath:
        """The path of the result that the file reads."""
        return (self.beside("number"),) if self.form.is_flat else (self.beside("result"), "number")

    def _unused(self, name: str) -> str:
        """Return a name for a text that the captured event does not hold: a member of that name is something else."""
        return f"other_{name}" if name in self.found.event else name

    def beside(self, name: str) -> str:
        """Return the name of a member of an event, beginning with `other_` if what the file reads is inside it."""
        taken = {self.found.status[0]}
        taken |= {self.reference[0]} if self.stage_by == "reference" else set()
        taken |= {self.token[0]} if self.stage_by == "token" else set()
        return f"other_{name}" if name in taken else name


def received_of(captured: Captured) -> Received:
    """Return the captured request as a partner's file sees it; raises `Unreadable`."""
    return Received.of(captured.body, captured.headers)
