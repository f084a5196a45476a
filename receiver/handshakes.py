"""Handshakes: a partner's check of one of our URLs before it sends callbacks to it."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from activities.handshakes import (
    MAX_UNPROVEN_BODY_BYTES,
    UNSAFE_TEXT,
    Handshake,
    HandshakeRequest,
    OwnHandshake,
    Reply,
    When,
)
from activities.partners.answers import BrokenAnswer
from activities.partners.partner import Partner
from activities.partners.received import Received, Unreadable
from activities.sealing import Seals
from receiver.answers import Ended, Refused, Verdict
from receiver.budget import RateBudget
from receiver.reading import bounded, broken

logger = logging.getLogger("stagehook.callbacks")

HANDSHAKES_PER_SECOND: Final = 50.0
"""Limit for each partner and kind of handshake. It is high: while a stranger uses up the kind that anyone can send to a
partner's one URL, that kind of the partner's own is refused."""

PROOFS_PER_SECOND: Final = 5.0
"""The same for handshakes that sign a text for anyone who asks: so few give an attacker little to work with."""

MARKUP: Final = re.compile(r"[<>]")
"""No reply repeats this, although browsers do not render the reply's media type."""


class HandshakeDone(Ended):
    """Ends the handling of a request with the reply to a handshake. Nothing is recorded or signalled."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(Verdict.GREETED, recorded=True)
        self._reply = reply

    def respond(self) -> Response:
        """The reply. `nosniff` keeps browsers from treating it as another media type, `no-store` caches from it."""
        headers = {**self._reply.headers, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        return Response(self._reply.body, self._reply.status, headers, self._reply.media_type)


@dataclass(frozen=True)
class Door:
    """The URL at which a request arrived.

    url: as the partner was given it, without a query. rate: callbacks per second. is_shared: it is the partner's one
    URL, which is no secret.
    """

    url: str
    rate: float
    is_shared: bool


class Handshakes:
    """Replies to the partners' handshakes, within limits. seals: seals a secret that a partner has chosen for us."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals
        self._budget = RateBudget()

    async def end(self, partner: Partner, request: Request, door: Door, when: When, body: bytes = b"") -> None:
        """End the request if it is a handshake of the partner that is due now. Raises `Ended`.

        body: b"" until it is read.
        """
        if not partner.handshakes or (when == "body" and len(body) > MAX_UNPROVEN_BODY_BYTES):
            return
        asked = _asked(request, door, body)
        for handshake in partner.handshakes:
            if reply := await _reply(partner, handshake, asked, when):
                self._end(partner, handshake, reply, door, when)

    def _end(self, partner: Partner, handshake: Handshake | OwnHandshake, reply: Reply, door: Door, when: When) -> None:
        # Each kind has its own limit. So a stranger who finds a partner's one URL cannot use up handshakes that the
        # partner signs, that hold a secret of ours, or that come to a URL that only the partner has.
        place = "signed" if when == "signed" else "shared" if door.is_shared else "own"
        proves = isinstance(handshake, Handshake) and handshake.form.proves
        kind = f"{partner.name} {place} {proves=} {reply.is_consent=}"
        if wait := self._budget.seconds_to_wait(kind, PROOFS_PER_SECOND if proves else HANDSHAKES_PER_SECOND):
            # No handshake is recorded: its query may hold a secret of ours, such as a verify token.
            late = math.ceil(wait)
            raise Refused(Verdict.TOO_MANY, "handshakes", body_read=when != "head", retry_after=late, recorded=True)
        if reply.secret:
            sealed = {"partner": partner.name, "sealed": self._seals.seal(reply.secret)}
            logger.warning("partner-secret", extra={**sealed, "next": "stagehook partner unseal SEALED"})
        raise HandshakeDone(reply)


def _asked(request: Request, door: Door, body: bytes) -> HandshakeRequest:
    return HandshakeRequest(
        method=request.method,
        query=request.scope["query_string"].decode("latin-1"),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]),
        body=body,
        rate=int(60 * door.rate),
        url=door.url,
    )


async def _reply(
    partner: Partner, handshake: Handshake | OwnHandshake, asked: HandshakeRequest, when: When
) -> Reply | None:
    if isinstance(handshake, OwnHandshake):
        return await _own_reply(partner, handshake, asked, when) if handshake.is_due(asked.method, when) else None
    reply = handshake.answer(asked, when)
    # Without a body signature, anyone who has the URL could have the reply to a handshake that must be signed.
    return UNSAFE_TEXT if reply and when == "signed" and not partner.proves_its_bodies else reply


async def _own_reply(partner: Partner, handshake: OwnHandshake, asked: HandshakeRequest, when: When) -> Reply | None:
    """The reply of a function of the partner's file. Raises `Refused` if the function fails."""
    received = Received(asked.body, asked.headers, asked.method, asked.query)

    def respond() -> Reply | None:
        try:
            reply: object = handshake.respond(received)
        except Unreadable:
            # A signed request may be a callback that only `read_event` can read. Any other may be a stranger's.
            return None if when == "signed" else UNSAFE_TEXT
        except Exception as error:
            raise broken(partner, _broken_by(error)) from error
        if isinstance(reply, Reply):
            return UNSAFE_TEXT if MARKUP.search(reply.body) else reply
        if reply is None:
            return None
        flaw = f"its handshake returned a {type(reply).__name__}: return a Reply or None"
        raise broken(partner, BrokenAnswer(flaw))

    return await bounded(partner, received, respond)


def _broken_by(error: Exception) -> BrokenAnswer:
    found = BrokenAnswer(f"its handshake raised {type(error).__name__}")
    found.__cause__ = error
    return found
