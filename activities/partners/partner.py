"""Partner: everything the system knows about one third party: how to call it, and how to read what it sends."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, get_args

import httpx

from activities.callback_urls import Claims
from activities.connection import DIRECT, Connection
from activities.environment import Environment
from activities.handshakes import HANDSHAKES, AnyHandshake, Handshake, OwnHandshake
from activities.partners.auth import ClientCredentials
from activities.partners.events import Event, NotOurs
from activities.partners.received import Part, Received
from activities.partners.received import Unreadable as Unreadable
from activities.signatures import SCHEMES, ConfigError, Scheme
from activities.strength import SHORTEST_SECRET, is_short
from workflows.contract import Answer, Receipt, StageCall

TOO_SHORT: Final = f"has a secret of fewer than {SHORTEST_SECRET} characters"
BODILESS: Final = (204, 205)
IDEMPOTENCY_HEADER: Final = re.compile(
    r"(?i)(?!(?:accept.*|authorization|connection|content-.*|cookie|host|te|transfer-encoding|upgrade)$)[a-z0-9-]{1,100}"
)
LOWER_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+/[a-z0-9!#$%&'*+.^_`|~-]+")


ANSWERS_OF_ITS_OWN: Final[Mapping[str, tuple[int, ...]]] = {
    "accepted": (2,),
    "gone": (2, 4),
    "conflict": (2, 4),
    "unreadable": (4,),
}
"""The cases whose answer a partner's file may change, each with the allowed first digits of the HTTP status.

For example, `gone` may be answered 2xx or 4xx, but not 5xx. A partner stops retrying after a 2xx. So a 2xx is allowed
only where the callback is stored, or where no stage waits for it any more. All other cases keep the answer of the
receiver's table.
"""


@dataclass(frozen=True)
class OwnAnswer:
    """An answer that replaces the one in the receiver's table.

    status: the HTTP status. body: the whole body, sent as text/plain; None keeps the table's body.
    """

    status: int
    body: str | None = None


StageBy = Literal["url", "token", "reference"]
"""How a callback tells which stage it is for. "url": by the callback URL of the call. "token": by the token of that
URL, which the partner sends back in the body. "reference": by the partner's own id of the work."""

SHORTER_URL: Final = "start runs with a shorter id, or with TOKEN_VERSION=2"
"""What to do about a callback URL that is longer than `Partner.longest_url`."""

OLD_SHAPE: Final = (
    "its file has read_callback(body), which is now read_event(received): write `def read_event(received: Received) -> "
    "Event`, read the body with received.json(), and return Event(answer). Instead of read_token, write "
    'stage_by="token", and return Event(answer, token=...). docs/partner-file.md shows a whole file'
)


def _no_reader(received: Received) -> Event:
    raise NotImplementedError


@dataclass(frozen=True)
class Partner:
    """A third party. Raises `ConfigError` for an invalid field, or for fields that contradict each other.

    name: the name that stages and tokens use.
    signature: how the partner signs its callbacks. It has no default: write None for a partner that signs nothing. The
        callback token is then the only proof.
    build_call: builds the HTTP request that starts the work, from the call and its callback URL. `activities.calls`
        adds the idempotency key and sends it.
    read_receipt: reads the immediate 2xx answer to the call; raises `Unreadable`.
    read_event: reads a request, after every check has passed, into an `Event`, or `NOT_OURS` for a signed event about
        something else; raises `Unreadable`.
    build_ask: builds the HTTP request that asks for the status of the work, from the call (without its data) and the
        receipt's reference; None for a partner that cannot be asked.
    read_status: reads the 2xx answer to that request; raises `Unreadable`. Required with `build_ask`, else None.
    build_stop: builds the HTTP request that tells the partner not to finish the work; takes the same arguments as
        `build_ask`. None for a partner without such a request.
    build_undo: builds the HTTP request that tells the partner to reverse finished work; otherwise like `build_stop`.
    auth: how requests to the partner are authenticated.
    connection: how it is reached: with a client certificate, a private authority or a proxy.
    idempotency_header: the header that carries the idempotency key, the same in every try of a call; "" for none. A
        file that writes the key elsewhere takes it from `idempotency_key`.
    content_type: the media type of its callbacks, in lower case and without parameters, or several; "" for a partner
        whose callbacks name no media type. Any other media type is answered 415.
    gzip: whether it may compress its callbacks, with `Content-Encoding: gzip`. The body signature covers the bytes as
        they were sent.
    answers: the answers that differ from the receiver's table, by case; see `ANSWERS_OF_ITS_OWN`.
    handshake: what the partner asks of a webhook URL before it sends to it: a `Handshake`, a function that returns a
        `Reply` or None, or several of these. None is left out: it is what `handshake()` returns without a secret.
    stage_by: how a callback tells which stage it is for. With "token" and "reference" the partner sends everything to
        one webhook URL, `/partners/NAME`, and `read_event` returns the token or the reference. That URL proves nothing,
        so `proves_its_bodies` must be true. "reference" needs a store, and `read_receipt` must return the reference.
    idempotent: whether the partner answers a repeated call with the same `Idempotency-Key` as it answered the first.
        Then a call whose 2xx answer cannot be read is repeated, to learn the reference.
    split: for a partner that sends several events in a request: returns a part for each (`Received.part`), and
        `read_event` reads the parts. Needs a store.
    takes_get: whether a GET of the callback URL is a callback too, whose query `read_event` reads. The signature must
        cover the URL: people and programs that only look at a link must not settle a stage.
    sample_event: makes the body of a callback that reports an answer, for `stagehook partner send`. Its second argument
        is what the callback names its stage by: the callback URL for "token", the partner's id of the work for
        "reference", and an id of the work that was made up for "url". None: the command sends whole bodies only.
    longest_url: the maximum number of characters of a callback URL that the partner takes; 0 for any. A run whose URLs
        would be longer is refused at `stagehook pipeline start`, and a call before its request.
    rate: the average number of callbacks per second that one receiver process accepts from the partner.
    calls_at_once: the maximum number of calls that a worker process makes to the partner at the same time.
    calls_per_second: the maximum number of calls per second that all worker processes together begin; 0 for any. It
        counts tries too. Temporal holds it.
    loopback_only: the partner is for demo, development and tests, and is rejected where PUBLIC_URL is public.
    """

    name: str
    signature: Scheme | None
    build_call: Callable[[StageCall, str], httpx.Request]
    read_receipt: Callable[[httpx.Response], Receipt]
    read_event: Callable[[Received], Event | NotOurs] = _no_reader
    build_ask: Callable[[StageCall, str], httpx.Request] | None = None
    read_status: Callable[[httpx.Response], Answer] | None = None
    build_stop: Callable[[StageCall, str], httpx.Request] | None = None
    build_undo: Callable[[StageCall, str], httpx.Request] | None = None
    auth: httpx.Auth | None = None
    connection: Connection = DIRECT
    idempotency_header: str = "Idempotency-Key"
    content_type: str | Sequence[str] = "application/json"
    gzip: bool = False
    answers: Mapping[str, OwnAnswer] = field(default_factory=dict)
    handshake: AnyHandshake | Sequence[AnyHandshake | None] | None = None
    stage_by: StageBy = "url"
    idempotent: bool = False
    split: Callable[[Received], Sequence[Part]] | None = None
    takes_get: bool = False
    sample_event: Callable[[Answer, str], bytes] | None = None
    longest_url: int = 0
    rate: float = 500.0
    calls_at_once: int = 100
    calls_per_second: float = 0.0
    loopback_only: bool = False
    read_callback: InitVar[object] = None
    read_token: InitVar[object] = None

    def __post_init__(self, read_callback: object, read_token: object) -> None:
        if read_callback is not None or read_token is not None:
            raise ConfigError(f"partner {self.name}: {OLD_SHAPE}")
        if self.read_event is _no_reader:
            raise ConfigError(f"partner {self.name}: it needs read_event, which reads its callbacks")
        if self.stage_by not in get_args(StageBy):
            allowed = ", ".join(map(repr, get_args(StageBy)))
            raise ConfigError(f"partner {self.name}: unknown stage_by {self.stage_by!r}: use one of {allowed}")
        if (self.build_ask is None) != (self.read_status is None):
            raise ConfigError(f"partner {self.name}: build_ask and read_status go together")
        if not all(media_type == "" or LOWER_MEDIA_TYPE.fullmatch(media_type) for media_type in self.media_types):
            raise ConfigError(f"partner {self.name}: content_type is a media type in lower case, without parameters")
        if self.idempotency_header and not IDEMPOTENCY_HEADER.fullmatch(self.idempotency_header):
            raise ConfigError(f"partner {self.name}: idempotency_header is not the name of a header for a key")
        # Here, not by `ClientCredentials`: by now the file has read all its variables, and each missing one is a fault.
        if isinstance(self.auth, ClientCredentials) and (flaw := self.auth.flaw):
            raise ConfigError(f"partner {self.name}: {flaw}")
        self._check_limits()
        self._check_answers()
        self._check_handshakes()

    def _check_limits(self) -> None:
        if self.longest_url < 0:
            raise ConfigError(
                f"partner {self.name}: longest_url is {self.longest_url}: use a number of characters, or 0"
            )
        if not 0 < self.rate < math.inf:
            raise ConfigError(f"partner {self.name}: rate is a number above 0")
        if self.calls_at_once < 1:
            raise ConfigError(f"partner {self.name}: calls_at_once is {self.calls_at_once}: use a number above 0")
        if not 0 <= self.calls_per_second < math.inf:
            raise ConfigError(
                f"partner {self.name}: calls_per_second is {self.calls_per_second}: use a number above 0, or 0 for any"
            )

    def _check_answers(self) -> None:
        for case, answer in self.answers.items():
            if answer.status // 100 not in ANSWERS_OF_ITS_OWN.get(case, ()):
                raise ConfigError(f"partner {self.name}: {case} cannot be answered {answer.status}")
            if answer.status in BODILESS and answer.body != "":
                raise ConfigError(f"partner {self.name}: {answer.status} has no body")

    def _check_handshakes(self) -> None:
        for handshake in self.handshakes:
            if isinstance(handshake, OwnHandshake):
                continue
            if handshake.form.takes_any_get and self.takes_get:
                raise ConfigError(f"partner {self.name}: with handshake {handshake.name}, a GET cannot be a callback")
            if handshake.form.sets_unused_key and self.signature is not None:
                raise ConfigError(
                    f"partner {self.name}: handshake {handshake.name} lets a stranger choose the key of the signature: "
                    'use handshake("asana", environment, "ACME_ENROL", fix=...)'
                )

    @cached_property
    def handshakes(self) -> tuple[Handshake | OwnHandshake, ...]:
        """What the partner asks of a webhook URL before it sends to it."""
        several = self.handshake if isinstance(self.handshake, Sequence) else (self.handshake,)
        given = (one for one in several if one is not None)
        return tuple(one if isinstance(one, Handshake | OwnHandshake) else OwnHandshake(one) for one in given)

    @cached_property
    def all_answers(self) -> Mapping[str, OwnAnswer]:
        """The answers that differ from the receiver's table, by case: of its handshakes' providers, and its own."""
        found: dict[str, OwnAnswer] = {}
        for one in self.handshakes:
            if isinstance(one, Handshake):
                found |= {case: OwnAnswer(*answer) for case, answer in one.form.answers.items()}
        return {**found, **self.answers}

    @property
    def media_types(self) -> tuple[str, ...]:
        """The media types of its callbacks."""
        return (self.content_type,) if isinstance(self.content_type, str) else tuple(self.content_type)

    def flaw_of_url(self, callback_url: str) -> str:
        """Why the partner cannot take this callback URL, or ""."""
        if not 0 < self.longest_url < len(callback_url):
            return ""
        return f"its callback URL has {len(callback_url)} characters, and it takes {self.longest_url} (longest_url)"

    @property
    def has_one_url(self) -> bool:
        """Whether it sends everything to one webhook URL, `/partners/NAME`."""
        return self.stage_by != "url"

    @property
    def proves_its_urls(self) -> bool:
        """Whether the partner signs its callbacks, and the signature covers the URL with its query."""
        return self.signature is not None and self.signature.covers_url

    @property
    def needs_store(self) -> bool:
        """Whether its callbacks can only be understood, or kept, with a store."""
        return self.stage_by == "reference" or self.split is not None

    @property
    def proves_its_bodies(self) -> bool:
        """Whether the partner signs its callbacks, and the signature covers the body, or what its events say."""
        return self.signature is not None and (self.signature.covers_body or self.signature.covers_event)

    @property
    def enrols(self) -> bool:
        """Whether a handshake is open by which it chooses the key of its signatures."""
        return any(isinstance(one, Handshake) and one.form.enrols for one in self.handshakes)

    @property
    def must_prove_its_bodies(self) -> bool:
        """Whether `proves_its_bodies` is required: by its one URL, or by a handshake that must be proven."""
        return self.has_one_url or any(isinstance(one, Handshake) and one.proven for one in self.handshakes)


def signature(
    scheme: str | type[Scheme], environment: Environment, variable: str, *, fix: str, **options: Any
) -> Scheme | None:
    """Make the scheme with the secrets in the variable: separated by commas, newest first.

    scheme: its name in `SCHEMES`, or a class of one's own. options: of its constructor. A secret that contains a comma
    cannot be used: have the provider make another. A JSON Web Key stands alone.

    Returns None for a missing or unusable secret, an unknown scheme or option, each of which also becomes a fault of
    the environment.
    """
    text = environment.optional(variable)
    secrets = [text] if text.startswith("{") else environment.names(variable, fix=fix)
    if isinstance(scheme, str) and scheme not in SCHEMES:
        environment.fault(variable, f"cannot be used: unknown scheme {scheme}: use one of {', '.join(SCHEMES)}", fix)
        return None
    made = SCHEMES[scheme] if isinstance(scheme, str) else scheme
    known = [name for name in inspect.signature(made).parameters if name != "secrets"]
    if unknown := [name for name in options if name not in known]:
        says = f"cannot be used: unknown option {unknown[0]} of {made.name}: use {', '.join(known)}"
        environment.fault(variable, says, fix)
        return None
    if any(is_short(made.hidden_part(secret)) for secret in secrets):
        environment.fault(variable, TOO_SHORT, fix)
        return None
    try:
        return made(secrets, **options) if secrets else None
    except ConfigError as error:
        environment.fault(variable, f"cannot be used: {error}", fix)
        return None


def handshake(name: str, environment: Environment, variable: str, *, fix: str) -> Handshake | None:
    """Make the named handshake with the secret in the variable.

    A handshake that signs reads the variable as a list, separated by commas, and uses the first secret. Returns None
    for a missing or unusable secret, which also becomes a fault of the environment. The enrolment word may be missing:
    then nothing is enrolled.
    """
    if (row := HANDSHAKES.get(name)) and row.signs:
        secret = next(iter(environment.names(variable, fix=fix)), "")
    elif row and row.enrols:
        secret = environment.optional(variable)
    else:
        secret = environment.text(variable, fix=fix)
    if secret and is_short(secret) and not (row and row.is_public):
        environment.fault(variable, TOO_SHORT, fix)
        return None
    return Handshake(name, secret) if secret else None


def work_reference(call: StageCall) -> str:
    """Return our reference for the work, to store at the partner: `WORKFLOW-ID/STAGE/ATTEMPT`. It proves nothing."""
    return f"{call.workflow_id}/{call.stage}/{call.attempt}"


def idempotency_key(call: StageCall) -> str:
    """Return the call's idempotency key, for a body or a query: the same in every try, and in no other call."""
    return Claims.of(call).idempotency_key


PartnerFactory = Callable[[Environment], Partner]
"""The function in a partner's file that makes its `Partner` from the environment variables that it needs."""
