"""Webhook replay: sends captured deliveries again, over HTTP like every callback.

Each delivery is aimed (`receiver.replay.aims` and `stand_ins`: which run, by which claims), written (token, headers,
bytes) and sent, in the order of capture. The answer is compared with the captured answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

import httpx

from activities.callback_urls import CALLBACKS_PATH, PARTNERS_PATH, CallbackURLs, Claims
from activities.partners import answers
from activities.partners.partner import Partner
from activities.redaction.headers import is_credential
from activities.signatures import ConfigError, SignedRequest
from receiver.answers import Verdict
from receiver.deliveries.delivery import Delivery, digest, placeholder, without_tokens_in_body
from receiver.deliveries.filters import UNMATCHED
from receiver.replay.errors import CannotSign, NotReplayable, PartnerNotEnabled
from workflows.contract import TOKEN_VERSIONS

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
"""Headers that belong to the connection, not to the request."""


UNPROVEN: Final = Verdict.UNPROVEN.name.lower()
MISSIGNED: Final = "its signature was refused, and would be made right"
"""The reason for leaving out an unproven delivery."""

NOT_FOUND: Final = "it names no call of ours, or its events are not among the deliveries"
NO_CALL_YET: Final = "its call is not known yet"
"""The reason for leaving out a delivery that waits for its call."""

NEEDS_STORE: Final = "it holds only the partner's own id: name the receiver's store with DATABASE_URL"

TARGET: Final = re.compile(r"[!-~]{0,60000}")
"""What a request line can hold; httpx takes 65,536 characters of a URL, 4,096 of them for the token."""

UNREACHABLE: Final = (httpx.ConnectError, httpx.ConnectTimeout)
"""Errors of a receiver that cannot be reached: the next delivery would fail too, so the replay ends."""


@dataclass(frozen=True)
class Replayed:
    """A delivery that was sent again.

    answered: the HTTP status of the answer, 0 without an answer. error: why there is no answer.
    unreachable: the receiver cannot be reached. interrupted: it was reached, but the exchange failed.
    says: what the local partner's file reads in the body, "" if it cannot.
    kept_digest: the digest of the sent body, as a store keeps it; a scheme that signs in the body changes the body.
    """

    delivery: Delivery
    workflow_id: str
    answered: int
    error: str = ""
    unreachable: bool = False
    interrupted: bool = False
    says: str = ""
    kept_digest: str = ""

    @property
    def same(self) -> bool:
        """Whether the answer has the captured status."""
        return self.answered == self.delivery.status


def select(
    deliveries: Sequence[Delivery], *, unproven: bool = False
) -> tuple[list[Delivery], list[tuple[Delivery, str]]]:
    """The deliveries that can be replayed, in the order of capture, and the others, each with the reason.

    unproven: replay deliveries whose body signature was refused too. Their new signature is right, and so they may
    settle stages that they did not settle when captured.
    """
    chosen: list[Delivery] = []
    left: list[tuple[Delivery, str]] = []
    wholes = {one.id: one for one in deliveries}
    split = {one.part_of for one in deliveries if one.part}
    for captured in sorted(deliveries, key=lambda one: (one.received_at, one.part_of or one.id, one.part)):
        delivery = _with_whole(captured, wholes.get(captured.part_of))
        if delivery.id in split:
            continue  # its parts are sent, in one request
        if delivery.verdict == UNMATCHED:
            left.append((delivery, NO_CALL_YET))
        elif not delivery.workflow_id:
            left.append((delivery, NOT_FOUND if delivery.is_at_one_url else "its token was none of ours"))
        elif delivery.body is None:
            left.append((delivery, "its body was not kept"))
        elif delivery.verdict == UNPROVEN and not unproven:
            left.append((delivery, MISSIGNED))
        elif not TARGET.fullmatch(_kept_target(delivery)):
            left.append((delivery, "its URL cannot be sent: blanks, control characters, or too long"))
        else:
            chosen.append(delivery)
    return chosen, left


def _with_whole(part: Delivery, whole: Delivery | None) -> Delivery:
    """A part with the headers and the body of its request, which is what is sent again."""
    if not part.part or whole is None:
        return part
    return replace(
        part,
        headers=whole.headers,
        body=whole.body,
        body_size=whole.body_size,
        body_digest=whole.body_digest,
        status=whole.status,
    )


def requests_of(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    """The deliveries by request: each alone, but the parts of a request together."""
    grouped: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        grouped.setdefault(delivery.part_of or delivery.id, []).append(delivery)
    return list(grouped.values())


class Aiming(Protocol):
    """Decides which run and stage each delivery is sent to."""

    async def claims(self, delivery: Delivery) -> Claims:
        """The claims for the delivery's new token."""
        ...


class Aim(Aiming, Protocol):
    """Aims the deliveries of a replay, and ends what it has begun for them."""

    def is_begun(self, chain_id: str) -> bool:
        """Whether the deliveries of this captured run go to a run that the replay begins."""
        ...

    async def late(self, replayed: Sequence[Replayed]) -> list[str]:
        """Wait until the runs that the replay began have taken what they were sent. Returns the runs that are late.

        Late runs stay open, because their signals may still arrive.
        """
        ...

    async def aclose(self) -> None:
        """End the runs that the replay has begun."""
        ...


@dataclass
class Replay:
    """Sends deliveries again.

    urls: issues the tokens, for the receiver that the deliveries are sent to. partners: sign the bodies.
    speed: times faster than captured; 0 sends without pauses. rate: most deliveries per second; 0 for no limit.
    refer: records the partner's id of a call in the receiver's store, for partners whose callbacks hold only that id.
    """

    http: httpx.AsyncClient
    urls: CallbackURLs
    partners: Mapping[str, Partner]
    mode: Mode = "resign"
    speed: float = 0.0
    rate: float = 0.0
    refer: Callable[[Claims, str], Awaitable[None]] | None = None
    _sent_at: float = field(default=0.0, init=False)

    def check(self, deliveries: Sequence[Delivery]) -> None:
        """Raise `PartnerNotEnabled`, `CannotSign` or `NotReplayable` if a delivery cannot be written."""
        named = {delivery.partner for delivery in deliveries} if self.mode == "resign" else set()
        if missing := sorted(named - self.partners.keys()):
            raise PartnerNotEnabled(f"PARTNERS does not name {', '.join(missing)}, whose deliveries are to be signed")
        for request in requests_of(deliveries):
            if self.refer is None and any(delivery.reference for delivery in request):
                raise NotReplayable(f"{request[0].id} cannot be sent: {NEEDS_STORE}")
            self.write([(delivery, claims_of(delivery)) for delivery in request])

    def seconds(self, deliveries: Sequence[Delivery]) -> float:
        """The sum of the pauses between the deliveries, in seconds."""
        return sum(map(self._pause, deliveries, deliveries[1:]))

    async def send_all(self, deliveries: Sequence[Delivery], aim: Aiming) -> AsyncIterator[Replayed]:
        """Send the deliveries one after another, and yield each result. Stops if the receiver cannot be reached."""
        before: Delivery | None = None
        for request in requests_of(deliveries):
            aimed = [(delivery, await aim.claims(delivery)) for delivery in request]
            for delivery, claims in aimed:
                if delivery.reference and self.refer:
                    await self.refer(claims, delivery.reference)
            if before:
                await asyncio.sleep(max(0.0, self._sent_at + self._pause(before, request[0]) - time.monotonic()))
            for replayed in await self._send(aimed):
                yield replayed
                if replayed.unreachable:
                    return
            before = request[0]

    def _pause(self, before: Delivery, delivery: Delivery) -> float:
        """Seconds between sending these two deliveries."""
        pause = 1 / self.rate if self.rate else 0.0
        return max(pause, (delivery.received_at - before.received_at) / self.speed) if self.speed else pause

    async def _send(self, aimed: Sequence[tuple[Delivery, Claims]]) -> list[Replayed]:
        """Send one request, and return its answer for each of its deliveries."""
        request = self.write(aimed)
        self._sent_at = time.monotonic()
        try:
            status = (await self.http.send(request)).status_code
        except httpx.HTTPError as error:  # includes an answer that cannot be read
            unreachable, why = isinstance(error, UNREACHABLE), type(error).__name__
            interrupted = isinstance(error, httpx.TransportError) and not unreachable
            replayed = [
                Replayed(one, claims.workflow_id, 0, why, unreachable=unreachable, interrupted=interrupted)
                for one, claims in aimed
            ]
        else:
            replayed = [
                Replayed(one, claims.workflow_id, status, says=self._read(one, request.content))
                for one, claims in aimed
            ]
        kept = _kept_digest(aimed[0][0], request.content)
        return [replace(one, kept_digest=kept) for one in replayed]

    def _read(self, delivery: Delivery, body: bytes) -> str:
        partner = self.partners.get(delivery.partner)
        if partner is None:
            return ""
        try:
            received = delivery.received(body)
            if delivery.part:
                received = answers.split(partner, received)[delivery.part - 1]
            event = answers.read_event(partner, received)
            return event.answer.status if event else ""
        except Exception:  # any error of a partner's file; the receiver's answer shows whether it failed there too
            return ""

    def write(self, aimed: Sequence[tuple[Delivery, Claims]]) -> httpx.Request:
        """Make the request: new tokens, and with `resign` a new signature. Bytes and other headers are as captured.

        aimed: the deliveries of one request, each with the claims of the call that it is to be for. Raises
        `NotReplayable` and `CannotSign`.
        """
        delivery, claims = aimed[0]
        url, body = addressed(delivery, self.urls, claims)
        for part, claims_of_part in aimed[1:]:
            _, body = addressed(replace(part, body=body), self.urls, claims_of_part)
        headers = repeatable_headers(delivery)
        if self.mode == "resign" and (scheme := self.partners[delivery.partner].signature):
            # Sign with the captured id, so that a duplicate is a duplicate again.
            delivery_id = delivery.signed_id or delivery.id
            try:
                unsigned = SignedRequest(delivery.method, url, headers, body)
                signed = scheme.sign_request(unsigned, now=time.time(), delivery_id=delivery_id)
            except ConfigError as error:
                raise CannotSign(f"{delivery.id} cannot be signed as {delivery.partner} does: {error}") from error
            url, headers, body = signed.url, list(signed.headers), signed.body
        encoded = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        # Set the raw target: httpx would encode some characters of the URL again.
        target = {"target": b"/" + url.encode().split(b"/", 3)[3]}
        return httpx.Request(delivery.method, url, headers=encoded, content=body, extensions=target)


def _kept_digest(delivery: Delivery, body: bytes) -> str:
    if not delivery.is_at_one_url:
        return digest(body)
    return without_tokens_in_body(replace(delivery, body=body, body_digest=digest(body))).body_digest


def addressed(delivery: Delivery, urls: CallbackURLs, claims: Claims) -> tuple[str, bytes]:
    """The delivery's URL and body, with a token of these claims in place of the captured token.

    Raises `NotReplayable`.
    """
    captured, body, kept = claims_of(delivery), delivery.body, _kept_target(delivery)
    if body is None:
        raise NotReplayable(f"the body of {delivery.id} was not kept")
    if delivery.target.startswith(PARTNERS_PATH):  # there the token is in the body
        for version in TOKEN_VERSIONS:
            token = urls.issue(claims, version).rpartition(CALLBACKS_PATH)[2]
            body = body.replace(placeholder(captured, version).encode(), token.encode())
        return urls.public_url + kept, body
    return urls.issue(claims, _version_in_target(delivery)) + kept, body


def _kept_target(delivery: Delivery) -> str:
    """The part of the target that is replayed unchanged: the query, or all of it at a partner's single URL."""
    if delivery.target.startswith(PARTNERS_PATH):
        return delivery.target
    shown = placeholder(claims_of(delivery), _version_in_target(delivery))
    query = delivery.target.removeprefix(CALLBACKS_PATH + shown)
    return query if query.startswith("?") else ""


def _version_in_target(delivery: Delivery) -> int:
    """The version of the captured token in the path."""
    return 2 if delivery.target.startswith(CALLBACKS_PATH + placeholder(claims_of(delivery), 2)) else 1


def repeatable_headers(delivery: Delivery) -> list[tuple[str, str]]:
    """The headers to replay: without connection headers and credentials, and without the blanks around a value."""
    return [
        (name, value.strip(" \t"))
        for name, value in delivery.headers
        if name.lower() not in NOT_REPEATED and not is_credential(name)
    ]


def claims_of(delivery: Delivery) -> Claims:
    """The captured claims; raises `NotReplayable` if the delivery has none."""
    if delivery.claims is None:
        raise NotReplayable(f"the token of {delivery.id} was none of ours")
    return delivery.claims
