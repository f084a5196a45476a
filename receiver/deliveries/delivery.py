"""Delivery: the record of one HTTP request to a callback route, and its one form as JSON.

A line of an export, a fixture in `tests/deliveries/` and what `stagehook delivery show --json` prints are this form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, Final, Self

from activities import strict_json
from activities.callback_urls import Claims

FORM: Final = "stagehook.delivery.v1"
"""Names the JSON form. A later one may add members; a reader of this one ignores those."""

TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
"""A method, or a header's name: a token as RFC 9110, 5.6.2 has it."""

MAX_REFUSED_BODY_BYTES: Final = 64 * 1024
"""What is kept of the body of a request that was refused; of a longer one only size and digest are."""

UNKNOWN_TOKEN: Final = "{unknown}"  # noqa: S105 - what stands in a target for a token that is none


class Fate(Enum):
    """What became of a kept delivery's signal."""

    NONE = ""
    PENDING = "pending"
    TAKEN = "taken"
    REFUSED = "refused"
    PARKED = "parked"


class NotADelivery(ValueError):
    """Bytes that are no delivery in the form that `as_json` writes. The message says why, without quoting them."""


@dataclass(frozen=True)
class Delivery:
    """One request that reached the receiver. Times are unix seconds.

    id: sorts by the time of receipt. target: path and query, the token replaced by its claims. headers: in order,
    repeated ones included, without credentials; names in lower case, as the server gives them. body: None if it was not
    kept whole; size and digest (SHA-256, hex) are of what was read of it. client: the address that connected.
    pipeline, definition: the run's pipeline, and the digest of its definition, where Temporal could be asked for it.
    workflow_id to expires_at: the token's claims; workflow_id is "" if it redeemed nothing.
    signed_id: the partner's id of the delivery, if the body signature covers one.
    says: what the partner says in it: succeeded, failed, progress, ... or "" if it was not read.
    verdict, reason, status: what the receiver decided, why exactly, and the HTTP status that it answered.
    fate, fate_reason, fate_at, tries: what became of the signal. duplicate_of: the delivery that had the same content.
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

    @property
    def claims(self) -> Claims | None:
        """What the token said; None if it redeemed nothing."""
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
    def replayable(self) -> bool:
        """Whether it can be sent again: its body was kept whole, and its token was one of ours."""
        return self.body is not None and bool(self.workflow_id)

    def as_json(self) -> dict[str, Any]:
        """Its JSON form: the body in base64, times as they are."""
        body = None if self.body is None else base64.b64encode(self.body).decode()
        plain = {**asdict(self), "headers": [list(pair) for pair in self.headers], "fate": self.fate.value}
        return {"form": FORM, **plain, "body": body, "replayable": self.replayable}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the JSON form; raises `NotADelivery`. Members that are not known are ignored, absent ones default."""
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
        """Raise `NotADelivery` for members that are wrong, and for a body that is not the one that was recorded."""
        for field in fields(self):
            value, kind = getattr(self, field.name), str(field.type)
            if kind in PLAIN and (type(value) not in PLAIN[kind] or "\0" in str(value)):
                raise NotADelivery(f"{field.name} is no {kind}")
            if kind in {"int", "float"} and not 0 <= value < MOST.get(field.name, LATEST):
                raise NotADelivery(f"{field.name} is out of range")
        if not 0 < len(self.id) <= LONGEST_ID:
            raise NotADelivery(f"id is empty, or longer than {LONGEST_ID} characters")
        if not TOKEN.fullmatch(self.method):
            raise NotADelivery("invalid method")
        if self.body is not None and (len(self.body), digest(self.body)) != (self.body_size, self.body_digest):
            raise NotADelivery("the body is not the one whose size and digest are recorded")


LONGEST_ID: Final = 100
"""Characters; ours have 20."""

LATEST: Final = 2**33
"""Unix seconds, in the year 2242; other numbers are smaller too."""

MOST: Final = {"stage": 1_000, "attempt": 1_000_000, "status": 1_000, "tries": 1_000_000}
PLAIN: Final[Mapping[str, tuple[type, ...]]] = {"str": (str,), "int": (int,), "float": (int, float)}


def new_id(at: float) -> str:
    """An id that sorts by the moment: 12 hexadecimal digits of milliseconds, 8 of chance."""
    return f"{int(at * 1000):012x}{secrets.token_hex(4)}"


def digest(body: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def placeholder(claims: Claims) -> str:
    """What stands in a recorded target for the token of these claims."""
    return f"{{{claims.workflow_id}/{claims.stage}/{claims.attempt}}}"


def read_line(line: bytes) -> Delivery:
    """Read one line of an export; raises `NotADelivery`."""
    return Delivery.from_json(_load(line))


def read_document(document: bytes) -> list[Delivery]:
    """Read a JSON document: a delivery, or a list of some; raises `NotADelivery`."""
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
    if not TOKEN.fullmatch(name):
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
