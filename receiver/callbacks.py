"""POST /callbacks/{token}, and POST /partners/{name} for partners that send every callback to a single URL.

The steps are token, partner, headers, body, body signature, reading, delivery, answer. Each step either passes its
result on or ends the request with a verdict. Only the token's claims say which run and stage a callback is for. At a
partner's one URL the token is read last, from the signed body.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response

from activities.callback_urls import (
    CALLBACKS_PATH,
    PARTNERS_PATH,
    BadToken,
    CallbackURLs,
    Claims,
    ExpiredToken,
    TokenError,
)
from activities.partners import answers
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.received import Received, Unreadable
from activities.signatures import KeyUnavailable, SignatureError, SignedRequest
from receiver.answers import Ended, Refused, Verdict, in_its_own_way
from receiver.batches import Batches
from receiver.body import Incoming
from receiver.budget import SECONDS_PER_CALLBACK, RateBudget, SignalBudget
from receiver.deliveries.capture import Capture
from receiver.handshakes import Door, Handshakes
from receiver.heads import check_headers, is_callback
from receiver.metrics import Metrics
from receiver.reading import read_whole
from receiver.request_ids import request_id_of
from receiver.sending.forwarder import Forwarder, Unavailable
from receiver.sending.signal import Signal
from receiver.stages import Stages, can_be_ours
from workflows.contract import Answer

logger = logging.getLogger("stagehook.callbacks")

Way = Callable[[Request, Capture, Incoming], Awaitable[Verdict]]


class Callbacks:
    """The two callback endpoints. `create_app` makes the arguments once."""

    def __init__(
        self, urls: CallbackURLs, partners: Mapping[str, Partner], forwarder: Forwarder, metrics: Metrics
    ) -> None:
        self._urls = urls
        self._partners = partners
        self._forwarder = forwarder
        self._metrics = metrics
        self._budget = SignalBudget()
        self._stages = Stages(urls, forwarder)
        self._batches = Batches(self._stages, forwarder, self._budget)
        self._of_partners = RateBudget()
        self._handshakes = Handshakes(urls.seals)
        # Of all partners: a request may be recorded before its partner is known.
        self._secret_headers = {
            partner.signature.header.lower()
            for partner in partners.values()
            if partner.signature is not None and partner.signature.header_is_secret
        }

    async def receive(self, request: Request) -> Response:
        """Handle a request to the callback URL that a call carried."""
        token = _raw_path(request).removeprefix(CALLBACKS_PATH)
        capture = Capture.of(request, token=token, secret_headers=self._secret_headers)
        return await self._answer(request, capture, self._at_a_callback_url)

    async def receive_at_partner_url(self, request: Request) -> Response:
        """Handle a request to a partner's single webhook URL."""
        capture = Capture.of(request, token="", path=PARTNERS_PATH, secret_headers=self._secret_headers)
        return await self._answer(request, capture, self._at_a_partner_url)

    async def _answer(self, request: Request, capture: Capture, way: Way) -> Response:
        began, reason, recorded = time.monotonic(), "", True
        incoming = Incoming(request)
        try:
            verdict = await way(request, capture, incoming)
            response: Response = verdict.respond()
        except Ended as ended:
            verdict, reason, recorded, response = ended.verdict, ended.detail, ended.recorded, ended.respond()
        except Exception:
            logger.exception("callback-failed", extra={"partner": capture.partner})
            verdict, recorded = Verdict.BROKEN, False
            response = verdict.respond(close=True)
        partner, at_one_url = self._partners.get(capture.partner), capture.own_partner != ""
        response = in_its_own_way(partner, verdict, response, at_one_url=at_one_url)
        if not recorded:
            await self._record_refusal(capture, incoming, verdict, reason, response.status_code)
        elif response.status_code != verdict.status and verdict is not Verdict.GREETED:
            self._forwarder.note_answer(capture.id, response.status_code)
        took = time.monotonic() - began
        self._metrics.answered(verdict, reason, capture.partner, status=response.status_code, seconds=took)
        _log(verdict, reason, response.status_code, capture, took)
        return response

    async def _record_refusal(
        self, capture: Capture, incoming: Incoming, verdict: Verdict, reason: str, status: int
    ) -> None:
        at_least = capture.recordable_size(verdict, incoming.announced)
        if not self._forwarder.may_note(verdict, capture.partner, at_least):
            return
        if capture.body is None:  # refused before the body was read
            capture.note_unread(await incoming.skim(), incoming.size, incoming.digest)
        self._forwarder.note(capture.delivery(verdict, reason, status=status))

    async def _at_a_callback_url(self, request: Request, capture: Capture, incoming: Incoming) -> Verdict:
        if request.method != "POST" and not self._is_served(capture):
            raise Refused(Verdict.WRONG_METHOD, body_read=False)
        claims = self._redeem(capture)
        partner = self._partners.get(claims.partner)
        if partner is None:
            # The token is ours, but PARTNERS does not enable its partner in this receiver.
            logger.error("partner-not-enabled", extra={"partner": claims.partner})
            raise Refused(Verdict.UNAVAILABLE, "partner not enabled", body_read=False)
        door = Door(self._url_of(request), 1 / SECONDS_PER_CALLBACK, is_shared=False)
        received = await self._prove_body(request, capture, incoming, partner, door)
        if partner.split is not None:
            with _unavailable():
                return await self._batches.receive(capture, partner, received, claims)
        event = await read_whole(partner, received)
        if event is None:
            raise Refused(Verdict.IGNORED)
        return await self._deliver(capture, claims, event.answer)

    def _is_served(self, capture: Capture) -> bool:
        """Whether the token is valid, and its partner enabled. If not, any method but POST is 405."""
        with contextlib.suppress(TokenError):
            capture.claims = self._urls.redeem(capture.token)
            return capture.claims.partner in self._partners
        return False

    async def _at_a_partner_url(self, request: Request, capture: Capture, incoming: Incoming) -> Verdict:
        partner = self._partners.get(_raw_path(request).removeprefix(PARTNERS_PATH))
        if partner is None or not partner.has_one_url or not partner.proves_its_bodies:
            raise Refused(Verdict.UNKNOWN, body_read=False)
        capture.at_partner_url(PARTNERS_PATH + partner.name, partner.name)
        door = Door(self._url_of(request), partner.rate, is_shared=True)
        received = await self._prove_body(request, capture, incoming, partner, door)
        with _unavailable():
            if partner.split is not None:
                return await self._batches.receive(capture, partner, received)
            event = await read_whole(partner, received)
            if event is not None:
                return await self._receive_event(capture, partner, event, received.body)
            await self._stages.check_not_ours(partner, received.body)
        raise Refused(Verdict.IGNORED)

    async def _receive_event(self, capture: Capture, partner: Partner, event: Event, body: bytes) -> Verdict:
        """Deliver the only event of a request to a partner's one URL."""
        capture.token = event.token.rpartition(CALLBACKS_PATH)[2]
        if can_be_ours(event.reference):
            capture.reference = event.reference
        [found] = await self._stages.find(partner, [event])
        if isinstance(found, Claims):
            capture.claims = found
            return await self._deliver(capture, found, event.answer)
        if found is Verdict.UNMATCHED:
            capture.says = event.answer.status
            await self._forwarder.keep_unmatched(capture.delivery(found), event.answer)
            return found
        if found is Verdict.IGNORED and partner.stage_by == "token":
            # A file that reads the wrong field finds another text than our token, or nothing.
            await self._stages.check_not_ours(partner, body)
        raise Refused(found)

    async def _prove_body(
        self, request: Request, capture: Capture, incoming: Incoming, partner: Partner, door: Door
    ) -> Received:
        """Read the body, check the partner's body signature and decode it. A handshake ends the request."""
        await self._handshakes.end(partner, request, door, "head")
        if not is_callback(request, partner):
            raise Refused(Verdict.WRONG_METHOD, body_read=False)
        check_headers(request, partner)
        capture.body = body = await incoming.read()
        await self._handshakes.end(partner, request, door, "body", body)
        capture.signed_id = _prove(request, partner, door.url, capture.headers, body)
        capture.is_proven = partner.proves_its_bodies
        if wait := self._of_partners.seconds_to_wait(partner.name, partner.rate):
            raise Refused(Verdict.TOO_MANY, "by this partner", retry_after=math.ceil(wait))
        received = _received(request, capture)
        await self._handshakes.end(partner, request, door, "signed", received.body)
        return received

    async def _deliver(self, capture: Capture, claims: Claims, answer: Answer) -> Verdict:
        capture.says = answer.status
        signal = Signal.of(claims, answer, capture.body or b"", capture.signed_id)
        wait = self._budget.seconds_to_wait(claims, signal.request_id, settles=answer.settles)
        at_one_url = capture.own_partner != ""
        # At a partner's one URL too many events of one call must not cost the other calls their URL.
        if wait and not (at_one_url and self._forwarder.keeps):
            raise Refused(Verdict.TOO_MANY, retry_after=math.ceil(wait))
        try:
            delivery = capture.delivery(Verdict.ACCEPTED)
            verdict = await self._forwarder.deliver(delivery, signal, at_one_url=at_one_url, later=wait)
        except Unavailable as error:
            self._budget.refund(claims, signal.request_id)
            raise _not_durable(error) from error
        if verdict is Verdict.UNKNOWN:
            # Must look the same as the answer to a forged token, down to the last header.
            raise Refused(verdict, body_read=False, recorded=True)
        return verdict

    def _redeem(self, capture: Capture) -> Claims:
        expired = False
        try:
            claims = self._urls.redeem(capture.token)
        except BadToken:
            raise Refused(Verdict.UNKNOWN, body_read=False) from None
        except ExpiredToken as error:
            claims, expired = error.claims, True
        capture.claims = claims
        if expired:
            raise Refused(Verdict.GONE, body_read=False)
        return claims

    def _url_of(self, request: Request) -> str:
        """The request's public URL without its query."""
        return self._urls.public_url + _raw_path(request)


def _prove(request: Request, partner: Partner, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> str:
    """Check the body signature over the raw bytes, before parsing. Returns the signed delivery id, or "".

    url: the request's public URL without its query.
    """
    if partner.signature is None:
        return ""
    query = request.scope["query_string"].decode("latin-1")
    received = SignedRequest(request.method, f"{url}?{query}" if query else url, headers, body)
    try:
        return partner.signature.verify(received, time.time()).delivery_id or ""
    except KeyUnavailable as error:
        raise Refused(Verdict.UNAVAILABLE, error.reason) from error
    except SignatureError as error:
        raise Refused(Verdict.UNPROVEN, error.reason) from error


def _received(request: Request, capture: Capture) -> Received:
    """The request as the partner's file sees it. Raises `Refused` if its body cannot be decoded."""
    query = capture.query.removeprefix("?")
    try:
        return Received.of(capture.body or b"", capture.headers, request.method, query)
    except Unreadable as error:
        raise Refused(Verdict.UNREADABLE, answers.words_of(error)) from error


@contextmanager
def _unavailable() -> Iterator[None]:
    """Refuse a request for which the store is needed, and away."""
    try:
        yield
    except Unavailable as error:
        raise _not_durable(error) from error


def _not_durable(error: Unavailable) -> Refused:
    logger.warning("nothing-durable", extra={"why": str(error)})
    return Refused(Verdict.UNAVAILABLE)


def _raw_path(request: Request) -> str:
    """The path as it was sent. Decoding it would give one token many spellings, such as `%41` for `A`."""
    path: bytes = request.scope["raw_path"]
    return path.decode("latin-1")


def _log(verdict: Verdict, reason: str, status: int, capture: Capture, took: float) -> None:
    """Log a line for the request: its verdict and the token's claims, never the token."""
    claims = capture.claims
    known = (
        {"partner": capture.partner}
        if claims is None
        else {
            "partner": claims.partner,
            "workflow_id": claims.workflow_id,
            "stage": claims.stage,
            "attempt": claims.attempt,
        }
    )
    why = {"why": reason} if reason else {}
    routed = {"request_id": request_id} if (request_id := request_id_of(capture.headers)) else {}
    ids = {"delivery": capture.id, **routed, "ms": round(took * 1000)}
    logger.info("callback", extra={"verdict": verdict.name.lower(), "status": status, **why, **known, **ids})
