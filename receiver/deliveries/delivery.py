"""Delivery: the record of an HTTP request to a callback route, and its JSON form.

Lines of an export, fixtures in `tests/deliveries/` and the output of `stagehook delivery show --json` have this form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import random
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import Any, Final, Self

from activities import strict_json
from activities.callback_urls import PARTNERS_PATH, Claims, stated_claims, version_of
from activities.partners.received import Received
from activities.redaction.tokens import tokens

FORM: Final = "stagehook.delivery.v1"
"""Name of the JSON form. Later versions may add members; readers ignore members that they do not know."""

HTTP_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
"""A method, or a header's name: a token as defined in RFC 9110, 5.6.2."""

MAX_REFUSED_BODY_BYTES: Final = 64 * 1024
"""Longest body that is kept of a refused request. Of a longer body only size and digest are kept."""

UNKNOWN_TOKEN: Final = "{unknown}"  # noqa: S105 - replaces an invalid token in a target


class Fate(Enum):
    """What became of a kept delivery's signal."""

    NONE = ""
    PENDING = "pending"
    TAKEN = "taken"
    REFUSED = "refused"
    PARKED = "parked"


class NotADelivery(ValueError):
    """The input is not a delivery in the form that `as_json` writes. The message says why, without quoting it."""


@dataclass(frozen=True)
class Delivery:
    """A request that reached the receiver. Times are unix seconds.

    id: sorts by the time of receipt. target: path and query, the token replaced by its claims.
    headers: in order, repeated headers included, without credentials; names in lower case, as the server gives them.
    body: None if it was not kept whole. body_size, body_digest (SHA-256, hex): of the part of the body that was read.
    client: the address that connected.
    pipeline, definition: the run's pipeline and the digest of its definition, if the table of calls has the call.
    workflow_id to expires_at: the token's claims; workflow_id is "" if no valid token was read.
    signed_id: the partner's id of the delivery, if the body signature covers an id.
    says: what the partner reports: succeeded, failed, progress, ... or "" if the body was not read.
    verdict, reason, status: what the receiver decided, the exact reason, and the HTTP status of its answer.
    fate, fate_reason, fate_at, tries: what became of the signal. duplicate_of: the first delivery with this content.
    reference: the partner's own id of the work, for a partner whose callbacks hold no token.
    part_of, part: for an event of a request that carries several: the delivery of the request, and the event's place
    in it, from 1. Its headers and body are the request's.
    """

    id: str
    received_at: float
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    body_size: int
    body_digest: str
    client: str = ""
    partner: str = ""
    pipeline: str = ""
    definition: str = ""
    workflow_id: str = ""
    chain_id: str = ""
    stage: int = 0
    attempt: int = 0
    issued_at: int = 0
    expires_at: int = 0
    signed_id: str = ""
    says: str = ""
    verdict: str = ""
    reason: str = ""
    status: int = 0
    fate: Fate = Fate.NONE
    fate_reason: str = ""
    fate_at: float = 0.0
    tries: int = 0
    duplicate_of: str = ""
    reference: str = ""
    part_of: str = ""
    part: int = 0

    def received(self, body: bytes) -> Received:
        """The request as the partner's file sees it; raises `Unreadable`. body: its body, as it was sent."""
        return Received.of(body, self.headers, self.method, self.target.partition("?")[2])

    @property
    def claims(self) -> Claims | None:
        """The token's claims; None if no valid token was read."""
        if not self.workflow_id:
            return None
        return Claims(
            workflow_id=self.workflow_id,
            chain_id=self.chain_id,
            stage=self.stage,
            attempt=self.attempt,
            partner=self.partner,
            issued_at=self.issued_at,
            expires_at=self.expires_at,
        )

    @property
    def is_at_one_url(self) -> bool:
        """Whether it came to a partner's one webhook URL, where the body says which stage it is for."""
        return self.target.startswith(PARTNERS_PATH)

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again: its body was kept whole, and its token was ours."""
        return self.body is not None and bool(self.workflow_id)

    def as_json(self) -> dict[str, Any]:
        """The JSON form: the body in base64, times in unix seconds."""
        body = None if self.body is None else base64.b64encode(self.body).decode()
        plain = {**asdict(self), "headers": [list(pair) for pair in self.headers], "fate": self.fate.value}
        return {"form": FORM, **plain, "body": body, "replayable": self.replayable}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the JSON form. Raises `NotADelivery`. Unknown members are ignored; missing optional members default."""
        if not isinstance(value, Mapping) or value.get("form") != FORM:
            raise NotADelivery(f"no JSON object of the form {FORM}")
        given = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        try:
            given["headers"] = _pairs(given["headers"])
            given["body"] = _read_body(given["body"])
            given["fate"] = Fate(given.get("fate", ""))
            delivery = cls(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise NotADelivery(f"a member is missing or wrong ({error})") from error
        delivery._check()
        return delivery

    def _check(self) -> None:
        """Raise `NotADelivery` for invalid members, and for a body that differs from its recorded size and digest."""
        for field in fields(self):
            value, kind = getattr(self, field.name), str(field.type)
            if kind in PLAIN and (type(value) not in PLAIN[kind] or "\0" in str(value)):
                raise NotADelivery(f"{field.name} is not of the type {kind}")
            if kind in {"int", "float"} and not 0 <= value < NUMBER_LIMITS.get(field.name, NUMBER_LIMIT):
                raise NotADelivery(f"{field.name} is out of range")
        if not 0 < len(self.id) <= MAX_ID_LENGTH:
            raise NotADelivery(f"id is empty, or longer than {MAX_ID_LENGTH} characters")
        if not HTTP_TOKEN.fullmatch(self.method):
            raise NotADelivery("invalid method")
        if self.body is not None and (len(self.body), digest(self.body)) != (self.body_size, self.body_digest):
            raise NotADelivery("the body is not the one whose size and digest are recorded")


MAX_ID_LENGTH: Final = 100
"""Characters of an id; the receiver's own ids have 20."""

NUMBER_LIMIT: Final = 2**33
"""Upper bound of numbers: unix seconds in the year 2242."""

NUMBER_LIMITS: Final = {"stage": 1_000, "attempt": 1_000_000, "status": 1_000, "tries": 1_000_000}
PLAIN: Final[Mapping[str, tuple[type, ...]]] = {"str": (str,), "int": (int,), "float": (int, float)}


_CHANCE: Final = random.Random()  # noqa: S311 - ids are unique, not secret; the system's own costs a call for each
os.register_at_fork(after_in_child=_CHANCE.seed)


def new_id(at: float) -> str:
    """An id that sorts by time: 12 hexadecimal digits of milliseconds, and 8 random ones. at: unix seconds."""
    return f"{int(at * 1000):012x}{_CHANCE.getrandbits(32):08x}"


def digest(body: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def placeholder(claims: Claims, version: int = 1) -> str:
    """The text that replaces the token of these claims in a recorded target, such as `{order-7/2/1}`.

    version: the token's; for version two the text is `{order-7/2/1/v2}`, so that a webhook replay makes the same token.
    """
    of_version = "" if version == 1 else f"/v{version}"
    return f"{{{claims.workflow_id}/{claims.stage}/{claims.attempt}{of_version}}}"


def without_tokens_in_body(delivery: Delivery) -> Delivery:
    """The delivery with a placeholder for each callback token in its body.

    The store keeps the body of a callback to a partner's one webhook URL as it came, to read it again. There a token
    settles nothing without the partner's signature, but elsewhere it is not shown.
    """
    body, end, pieces = delivery.body or b"", 0, list[bytes]()
    for found in sorted(tokens(body), key=lambda found: found.start):  # a token in a callback URL is found twice
        if found.start >= end and (text := _shown(body[found.start : found.end].decode("latin-1"))):
            # The claims are not verified: they may hold what UTF-8 cannot encode.
            pieces += [body[end : found.start], text.encode("utf-8", "replace")]
            end = found.end
    if not pieces:
        return delivery
    shown = b"".join([*pieces, body[end:]])
    return replace(delivery, body=shown, body_size=len(shown), body_digest=digest(shown))


def _shown(token: str) -> str:
    """The placeholder of a token; "" for a text of version one without claims, which is not a token of ours."""
    version = version_of(token)
    if claims := stated_claims(token):
        return placeholder(claims, version)
    return UNKNOWN_TOKEN if version == 2 else ""  # a token of version two that goes on as another word


def read_line(line: bytes) -> Delivery:
    """Read one line of an export; raises `NotADelivery`."""
    return Delivery.from_json(_load(line))


def read_document(document: bytes) -> list[Delivery]:
    """Read a JSON document that holds a delivery or a list of deliveries; raises `NotADelivery`."""
    value = _load(document)
    return [Delivery.from_json(one) for one in (value if isinstance(value, list) else [value])]


def _load(document: bytes) -> Any:
    try:
        return strict_json.loads(document)
    except strict_json.NotStrictJSON as error:
        raise NotADelivery(str(error)) from error


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise TypeError("headers are a list of pairs")
    return tuple(_pair(*pair) for pair in value)


def _pair(name: Any, text: Any) -> tuple[str, str]:
    if not isinstance(name, str) or not isinstance(text, str):
        raise TypeError("a header is a pair of texts")
    if not HTTP_TOKEN.fullmatch(name):
        raise ValueError("invalid header name")
    if any(character in text for character in "\r\n\0"):
        raise ValueError("a header's value holds CR, LF or NUL")
    text.encode("latin-1")
    return name, text


def _read_body(value: Any) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("the body is not base64") from error
