"""Handshake, a provider's handshake with its secret, and OwnHandshake, a function of a partner's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from activities.environment import is_text
from activities.handshakes.providers import HANDSHAKES
from activities.handshakes.request import HandshakeRequest, Reply, When
from activities.signatures import ConfigError
from activities.signatures.scheme import is_blank

if TYPE_CHECKING:
    from activities.handshakes.forms import HandshakeForm
    from activities.partners.received import Received


@dataclass(frozen=True)
class Handshake:
    """The handshake that a partner performs. Raises `ConfigError`.

    name: a key of `HANDSHAKES`.
    secret: the secret described by the row's `needs`.
    """

    name: str
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.name not in HANDSHAKES:
            raise ConfigError(f"unknown handshake {self.name}: use one of {', '.join(HANDSHAKES)}")
        if bool(self.form.needs) == is_blank(self.secret) or not is_text(self.secret):
            raise ConfigError(f"handshake {self.name} needs {self.form.needs or 'no secret'}")
        if self.form.repeats and not self.form.allowed.fullmatch(self.secret):
            raise ConfigError(f"handshake {self.name} needs {self.form.needs}: printable ASCII, as a header holds it")

    @property
    def form(self) -> HandshakeForm:
        """The row of the table."""
        return HANDSHAKES[self.name]

    @property
    def proven(self) -> bool:
        """Whether the provider signs the handshake like a callback."""
        return self.form.when == "signed"

    @property
    def headers_of_answers(self) -> Mapping[str, str]:
        """The headers that every accepted callback is answered with."""
        return {self.form.repeats: self.secret} if self.form.repeats else {}

    def answer(self, asked: HandshakeRequest, when: When) -> Reply | None:
        """Return the reply, or None if this is not the handshake, or not the time to answer it."""
        return self.form.answer(asked, self.secret) if when == self.form.when else None


OwnAnswerFunction: TypeAlias = "Callable[[Received], Reply | None]"


@dataclass(frozen=True)
class OwnHandshake:
    """A handshake that the partner's file answers itself.

    respond: returns the reply, or None if the request is not the handshake.
    proven: the partner signs a POST of this handshake like a callback, if it signs its callbacks. Otherwise the
        function is asked about each POST of up to `MAX_UNPROVEN_BODY_BYTES` before its signature is verified. Other
        methods have no signature: `respond` gets them with an empty body.
    """

    respond: OwnAnswerFunction
    proven: bool = True

    def is_due(self, method: str, when: When) -> bool:
        """Whether `respond` is asked now."""
        if method != "POST":
            return when == "head"
        return when == ("signed" if self.proven else "body")


AnyHandshake: TypeAlias = "Handshake | OwnHandshake | OwnAnswerFunction"
"""What a partner's file may give: a bare function is an `OwnHandshake` that is proven."""
