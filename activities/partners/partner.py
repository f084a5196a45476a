"""Partner: everything the system knows about one third party, in both directions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from activities.environment import Environment
from activities.handshakes import HANDSHAKES, Handshake
from activities.signatures import SCHEMES, ConfigError, Scheme
from activities.strength import SHORTEST_SECRET, is_short
from workflows.contract import Answer, Receipt, StageCall

TOO_SHORT: Final = f"has a secret of fewer than {SHORTEST_SECRET} characters"
BODILESS: Final = (204, 205)
MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+/[a-z0-9!#$%&'*+.^_`|~-]+")


class Unreadable(Exception):
    """A partner sent something that its file cannot read. The message says what is missing, and quotes nothing."""


ANSWERS_OF_ITS_OWN: Final[Mapping[str, tuple[int, ...]]] = {
    "accepted": (2,),
    "gone": (2, 4),
    "conflict": (2, 4),
    "unreadable": (4,),
}
"""The cases that a partner may want answered in a way of its own, and the hundreds that the status may then be of.

A 2xx ends a partner's tries, so only what is kept, or what nobody waits for any more, can be given one. All else stays
as the receiver's table has it.
"""


@dataclass(frozen=True)
class OwnAnswer:
    """An answer in place of the table's.

    status: the HTTP status. body: the whole body, text/plain; None leaves the table's.
    """

    status: int
    body: str | None = None


@dataclass(frozen=True)
class Partner:
    """One third party. Raises `ConfigError` for parts that do not go together.

    name: as stages and tokens name it.
    signature: how it signs its callbacks; None, written out, for a partner that signs nothing, so that the callback
        token is the only proof.
    build_call: the HTTP request that starts the work, from the call and its callback URL. `activities.calls` adds the
        idempotency key and sends it.
    read_receipt: reads the immediate 2xx answer; raises `Unreadable`.
    read_callback: reads a callback's body, after every check; raises `Unreadable`.
    build_ask: the HTTP request that asks how the work stands, from the call without its data and the receipt's
        reference; None for a partner that cannot be asked.
    read_status: reads the 2xx answer to that; raises `Unreadable`. Given if and only if `build_ask` is.
    build_stop: the HTTP request that tells the partner that the work need not be finished, from the same as
        `build_ask`; None for a partner that takes no such thing.
    build_undo: the HTTP request that has the partner take back what finished work has done; likewise.
    auth: how requests to the partner are authenticated.
    content_type: the media type of its callbacks, in lower case and without parameters, "" for one that names none;
        any other is answered 415.
    answers: what differs from the receiver's table of answers, by case; see `ANSWERS_OF_ITS_OWN`.
    handshake: what it asks of a webhook URL before it sends to it.
    read_token: for a partner with one webhook URL for everything, `/partners/NAME`: where in a callback's body the
        callback URL that the call carried, or its token, comes back; raises `Unreadable`. There the URL proves nothing,
        so that it is open only to one that `proves_its_bodies`.
    rate: callbacks per second, on average, that one receiver process takes of it.
    loopback_only: a stand-in, refused where PUBLIC_URL is public.
    """

    name: str
    signature: Scheme | None
    build_call: Callable[[StageCall, str], httpx.Request]
    read_receipt: Callable[[httpx.Response], Receipt]
    read_callback: Callable[[bytes], Answer]
    build_ask: Callable[[StageCall, str], httpx.Request] | None = None
    read_status: Callable[[httpx.Response], Answer] | None = None
    build_stop: Callable[[StageCall, str], httpx.Request] | None = None
    build_undo: Callable[[StageCall, str], httpx.Request] | None = None
    auth: httpx.Auth | None = None
    content_type: str = "application/json"
    answers: Mapping[str, OwnAnswer] = field(default_factory=dict)
    handshake: Handshake | None = None
    read_token: Callable[[bytes], str] | None = None
    rate: float = 500.0
    loopback_only: bool = False

    def __post_init__(self) -> None:
        if (self.build_ask is None) != (self.read_status is None):
            raise ConfigError(f"partner {self.name}: build_ask and read_status go together")
        if not 0 < self.rate < math.inf:
            raise ConfigError(f"partner {self.name}: rate is a number above 0")
        if self.content_type and not MEDIA_TYPE.fullmatch(self.content_type):
            raise ConfigError(f"partner {self.name}: content_type is a media type in lower case, without parameters")
        for case, answer in self.answers.items():
            if answer.status // 100 not in ANSWERS_OF_ITS_OWN.get(case, ()):
                raise ConfigError(f"partner {self.name}: {case} cannot be answered {answer.status}")
            if answer.status in BODILESS and answer.body != "":
                raise ConfigError(f"partner {self.name}: {answer.status} has no body")

    @property
    def proves_its_bodies(self) -> bool:
        """Whether it signs its callbacks in a way that covers the body."""
        return self.signature is not None and self.signature.covers_body

    @property
    def must_prove_its_bodies(self) -> bool:
        """Whether something in its file can work only for one that does."""
        return self.read_token is not None or (self.handshake is not None and self.handshake.proven)


def signature(scheme: str, environment: Environment, variable: str, *, fix: str, **options: Any) -> Scheme | None:
    """The scheme of that name, with the secrets that the variable lists, newest first, joined by commas.

    A secret that has a comma itself cannot be given so: have the provider make another.

    A missing or unusable secret is a fault of the environment; None then stands for the scheme that is not to be had.
    """
    secrets = environment.names(variable, fix=fix)
    # Of `user:password` only the password is secret.
    if any(is_short(secret.rpartition(":")[2] if scheme == "basic" else secret) for secret in secrets):
        environment.fault(variable, TOO_SHORT, fix)
        return None
    try:
        return SCHEMES[scheme](secrets, **options) if secrets else None
    except ConfigError as error:
        environment.fault(variable, f"cannot be used: {error}", fix)
        return None


def handshake(name: str, environment: Environment, variable: str, *, fix: str) -> Handshake | None:
    """The handshake of that name, with the secret that the variable holds; where it lists several, with the first one.

    A missing or unusable one is a fault of the environment, and the answer is None.
    """
    if (row := HANDSHAKES.get(name)) and row.signs:
        secret = next(iter(environment.names(variable, fix=fix)), "")
    else:
        secret = environment.text(variable, fix=fix)
    if secret and is_short(secret) and not (row and row.is_public):
        environment.fault(variable, TOO_SHORT, fix)
        return None
    return Handshake(name, secret) if secret else None


def work_reference(call: StageCall) -> str:
    """What to call the work in a partner's own books: `WORKFLOW-ID/STAGE/ATTEMPT`. It proves nothing."""
    return f"{call.workflow_id}/{call.stage}/{call.attempt}"


PartnerFactory = Callable[[Environment], Partner]
"""What a partner's file offers: its `Partner`, made from the variables that it names and needs."""
