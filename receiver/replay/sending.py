"""Webhook replay: captured deliveries sent again, on the ordinary way of every callback.

A replay is aimed (`receiver.replay.aims`: which run, by which claims), written (token, headers, bytes) and sent, in the
order of capture. The answer is compared with the one at capture.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import httpx

from activities.callback_urls import CALLBACKS_PATH, PARTNERS_PATH, CallbackURLs, Claims
from activities.partners.partner import Partner
from activities.signatures import ConfigError
from receiver.answers import Verdict
from receiver.deliveries.credentials import is_credential
from receiver.deliveries.delivery import Delivery, placeholder

Mode = Literal["resign", "verbatim"]

NOT_REPEATED: Final = {
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-connection",
}
"""Headers that belong to a connection and not to what was sent over it."""


class NotReplayable(Exception):
    """A delivery that cannot be sent again. The message says why."""


class CannotSign(Exception):
    """The partner's scheme cannot sign here: it has only a public key, or does not cover such a body."""


class PartnerNotEnabled(Exception):
    """A delivery's partner is not among PARTNERS here, so its signature cannot be made."""


UNPROVEN: Final = Verdict.UNPROVEN.name.lower()
MISSIGNED: Final = "its signature was refused, and would be made right"
"""Why an unproven delivery is left out."""

TARGET: Final = re.compile(r"[!-~]{0,60000}")
"""What a request line can hold; httpx takes 65,536 characters of a URL, 4,096 of them for the token."""

NOBODY_THERE: Final = (httpx.ConnectError, httpx.ConnectTimeout)
"""Of a receiver that does not answer at all: the next delivery would fare no better."""


@dataclass(frozen=True)
class Replayed:
    """One delivery that was sent again.

    answered: the HTTP status, 0 for none. error: why there was none. nobody: nothing listens there.
    says: what the partner's file here reads in it, "" if nothing.
    """

    delivery: Delivery
    workflow_id: str
    answered: int
    error: str = ""
    nobody: bool = False
    says: str = ""

    @property
    def same(self) -> bool:
        """Whether the answer is the one at capture."""
        return self.answered == self.delivery.status


def select(
    deliveries: Sequence[Delivery], *, unproven: bool = False
) -> tuple[list[Delivery], list[tuple[Delivery, str]]]:
    """The deliveries that can be replayed, in the order of capture; and the others, with the reason.

    unproven: those too whose body signature was refused. A new one would be right, and settle what theirs did not.
    """
    chosen: list[Delivery] = []
    left: list[tuple[Delivery, str]] = []
    for delivery in sorted(deliveries, key=lambda one: (one.received_at, one.id)):
        if not delivery.workflow_id:
            left.append((delivery, "its token was none of ours"))
        elif delivery.body is None:
            left.append((delivery, "its body was not kept"))
        elif delivery.verdict == UNPROVEN and not unproven:
            left.append((delivery, MISSIGNED))
        elif not TARGET.fullmatch(_kept_target(delivery)):
            left.append((delivery, "its URL cannot be sent: blanks, control characters, or too long"))
        else:
            chosen.append(delivery)
    return chosen, left


class Aim(Protocol):
    """Says which run and stage each delivery is sent to."""

    async def claims(self, delivery: Delivery) -> Claims:
        """The claims for its new token."""
        ...

    def is_begun(self, chain_id: str) -> bool:
        """Whether the deliveries of this captured run go into a run that the replay begins."""
        ...

    async def late(self, replayed: Sequence[Replayed]) -> list[str]:
        """Wait for the runs that the replay has begun to take what they were sent; those that have not in time.

        They stay open, for it may come yet.
        """
        ...

    async def aclose(self) -> None:
        """End what the replay has begun."""
        ...


@dataclass
class Replay:
    """Sends deliveries again.

    urls: issues the tokens, for the receiver that they are sent to. partners: whose signatures can be made here.
    speed: how much faster than captured; 0 waits for nothing. rate: deliveries a second at most; 0 for any.
    """

    http: httpx.AsyncClient
    urls: CallbackURLs
    partners: Mapping[str, Partner]
    mode: Mode = "resign"
    speed: float = 0.0
    rate: float = 0.0
    _sent_at: float = field(default=0.0, init=False)

    def check(self, deliveries: Sequence[Delivery]) -> None:
        """Raise `PartnerNotEnabled`, `CannotSign` or `NotReplayable` if one of them cannot be written."""
        named = {delivery.partner for delivery in deliveries} if self.mode == "resign" else set()
        if missing := sorted(named - self.partners.keys()):
            raise PartnerNotEnabled(f"PARTNERS does not name {', '.join(missing)}, whose deliveries are to be signed")
        for delivery in deliveries:
            self.write(delivery, claims_of(delivery))

    def seconds(self, deliveries: Sequence[Delivery]) -> float:
        """How long the pauses between them are altogether."""
        return sum(map(self._pause, deliveries, deliveries[1:]))

    async def send_all(self, deliveries: Sequence[Delivery], aim: Aim) -> AsyncIterator[Replayed]:
        """Send them one after another, until nobody is there; each is yielded as soon as it is answered."""
        before: Delivery | None = None
        for delivery in deliveries:
            claims = await aim.claims(delivery)
            if before:
                await asyncio.sleep(max(0.0, self._sent_at + self._pause(before, delivery) - time.monotonic()))
            replayed = await self._send(delivery, claims)
            yield replayed
            if replayed.nobody:
                return
            before = delivery

    def _pause(self, before: Delivery, delivery: Delivery) -> float:
        """Seconds between the sending of these two."""
        pause = 1 / self.rate if self.rate else 0.0
        return max(pause, (delivery.received_at - before.received_at) / self.speed) if self.speed else pause

    async def _send(self, delivery: Delivery, claims: Claims) -> Replayed:
        request = self.write(delivery, claims)
        self._sent_at = time.monotonic()
        try:
            response = await self.http.send(request)
        except httpx.HTTPError as error:  # an answer that cannot be read, too
            nobody = isinstance(error, NOBODY_THERE)
            return Replayed(delivery, claims.workflow_id, 0, type(error).__name__, nobody=nobody)
        return Replayed(delivery, claims.workflow_id, response.status_code, says=self._read(delivery, request.content))

    def _read(self, delivery: Delivery, body: bytes) -> str:
        partner = self.partners.get(delivery.partner)
        try:
            return partner.read_callback(body).status if partner else ""
        except Exception:  # a partner's file; whether the receiver has fared better is seen by its answer
            return ""

    def write(self, delivery: Delivery, claims: Claims) -> httpx.Request:
        """The request: a new token, and with `resign` a new signature; bytes and other headers as captured.

        Raises `NotReplayable` and `CannotSign`.
        """
        url, body = addressed(delivery, self.urls, claims)
        headers = repeatable_headers(delivery)
        if self.mode == "resign" and (scheme := self.partners[delivery.partner].signature):
            # The captured id, so that what was a duplicate is one again.
            delivery_id = delivery.signed_id or delivery.id
            try:
                signed = scheme.sign(body, url=url, now=time.time(), delivery_id=delivery_id)
            except ConfigError as error:
                raise CannotSign(f"{delivery.id} cannot be signed as {delivery.partner} does: {error}") from error
            replaced = {name.lower() for name, _ in signed}
            headers = [*(pair for pair in headers if pair[0].lower() not in replaced), *signed]
        encoded = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        # httpx would write some of a URL's characters anew.
        target = {"target": b"/" + url.encode().split(b"/", 3)[3]}
        return httpx.Request(delivery.method, url, headers=encoded, content=body, extensions=target)


def addressed(delivery: Delivery, urls: CallbackURLs, claims: Claims) -> tuple[str, bytes]:
    """Where to send it, and its body, with a token of these claims in the place of the captured one.

    Raises `NotReplayable`.
    """
    captured, callback_url, kept = claims_of(delivery), urls.issue(claims), _kept_target(delivery)
    if delivery.body is None:
        raise NotReplayable(f"the body of {delivery.id} was not kept")
    if delivery.target.startswith(PARTNERS_PATH):  # there the token is in the body
        token = callback_url.rpartition(CALLBACKS_PATH)[2]
        body = delivery.body.replace(placeholder(captured).encode(), token.encode())
        return urls.public_url + kept, body
    return callback_url + kept, delivery.body


def _kept_target(delivery: Delivery) -> str:
    """What is sent again of its target as it is: the query; at a partner's one URL all of it."""
    if delivery.target.startswith(PARTNERS_PATH):
        return delivery.target
    query = delivery.target.removeprefix(CALLBACKS_PATH + placeholder(claims_of(delivery)))
    return query if query.startswith("?") else ""


def repeatable_headers(delivery: Delivery) -> list[tuple[str, str]]:
    """Its headers without those of the connection it came over, nor the blanks around a value, which are none of it."""
    return [
        (name, value.strip(" \t"))
        for name, value in delivery.headers
        if name.lower() not in NOT_REPEATED and not is_credential(name)
    ]


def claims_of(delivery: Delivery) -> Claims:
    """The captured claims; raises `NotReplayable` if there are none."""
    if delivery.claims is None:
        raise NotReplayable(f"the token of {delivery.id} was none of ours")
    return delivery.claims
