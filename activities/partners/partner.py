"""Partner: everything the system knows about one third party: how to call it, and how to read what it sends."""

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
LOWER_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+/[a-z0-9!#$%&'*+.^_`|~-]+")


class Unreadable(Exception):
    """The partner's file cannot read what the partner sent. The message says what is missing and quotes no value."""


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


@dataclass(frozen=True)
class Partner:
    """A third party. Raises `ConfigError` for an invalid field, or for fields that contradict each other.

    name: the name that stages and tokens use.
    signature: how the partner signs its callbacks. It has no default: write None for a partner that signs nothing. The
        callback token is then the only proof.
    build_call: builds the HTTP request that starts the work, from the call and its callback URL. `activities.calls`
        adds the idempotency key and sends it.
    read_receipt: reads the immediate 2xx answer to the call; raises `Unreadable`.
    read_callback: reads a callback's body, after every check has passed; raises `Unreadable`.
    build_ask: builds the HTTP request that asks for the status of the work, from the call (without its data) and the
        receipt's reference; None for a partner that cannot be asked.
    read_status: reads the 2xx answer to that request; raises `Unreadable`. Required with `build_ask`, else None.
    build_stop: builds the HTTP request that tells the partner not to finish the work; takes the same arguments as
        `build_ask`. None for a partner without such a request.
    build_undo: builds the HTTP request that tells the partner to reverse finished work; otherwise like `build_stop`.
    auth: how requests to the partner are authenticated.
    content_type: the media type of its callbacks, in lower case and without parameters; "" for a partner whose
        callbacks name no media type. Any other media type is answered 415.
    answers: the answers that differ from the receiver's table, by case; see `ANSWERS_OF_ITS_OWN`.
    handshake: what the partner asks of a webhook URL before it sends to it.
    read_token: for a partner that sends everything to one webhook URL, `/partners/NAME`. Reads from a callback's body
        the callback URL that the call carried, or its token; raises `Unreadable`. The webhook URL proves nothing, so
        `proves_its_bodies` must be true.
    rate: the average number of callbacks per second that one receiver process accepts from the partner.
    loopback_only: the partner is for demo, development and tests, and is rejected where PUBLIC_URL is public.
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
        if self.content_type and not LOWER_MEDIA_TYPE.fullmatch(self.content_type):
            raise ConfigError(f"partner {self.name}: content_type is a media type in lower case, without parameters")
        for case, answer in self.answers.items():
            if answer.status // 100 not in ANSWERS_OF_ITS_OWN.get(case, ()):
                raise ConfigError(f"partner {self.name}: {case} cannot be answered {answer.status}")
            if answer.status in BODILESS and answer.body != "":
                raise ConfigError(f"partner {self.name}: {answer.status} has no body")

    @property
    def proves_its_bodies(self) -> bool:
        """Whether the partner signs its callbacks, and the signature covers the body."""
        return self.signature is not None and self.signature.covers_body

    @property
    def must_prove_its_bodies(self) -> bool:
        """Whether `proves_its_bodies` is required: by `read_token`, or by a handshake that must be proven."""
        return self.read_token is not None or (self.handshake is not None and self.handshake.proven)


def signature(scheme: str, environment: Environment, variable: str, *, fix: str, **options: Any) -> Scheme | None:
    """Make the named scheme with the secrets in the variable: separated by commas, newest first.

    A secret that contains a comma cannot be used: have the provider make another.

    Returns None for a missing or unusable secret, which also becomes a fault of the environment.
    """
    secrets = environment.names(variable, fix=fix)
    if any(is_short(SCHEMES[scheme].hidden_part(secret)) for secret in secrets):
        environment.fault(variable, TOO_SHORT, fix)
        return None
    try:
        return SCHEMES[scheme](secrets, **options) if secrets else None
    except ConfigError as error:
        environment.fault(variable, f"cannot be used: {error}", fix)
        return None


def handshake(name: str, environment: Environment, variable: str, *, fix: str) -> Handshake | None:
    """Make the named handshake with the secret in the variable.

    A handshake that signs reads the variable as a list, separated by commas, and uses the first secret. Returns None
    for a missing or unusable secret, which also becomes a fault of the environment.
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
    """Return our reference for the work, to store at the partner: `WORKFLOW-ID/STAGE/ATTEMPT`. It proves nothing."""
    return f"{call.workflow_id}/{call.stage}/{call.attempt}"


PartnerFactory = Callable[[Environment], Partner]
"""The function in a partner's file that makes its `Partner` from the environment variables that it needs."""
