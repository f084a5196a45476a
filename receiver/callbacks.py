"""POST /callbacks/{token}: a straight line from bytes to answer.

Token, partner, headers, body, body signature, reading, signal, answer: each step either passes its result on or ends
the request with a verdict. Nothing but the claims of the token says which run and stage a callback is for.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Mapping
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from activities.callback_urls import CALLBACKS_PATH, BadToken, CallbackURLs, Claims, ExpiredToken
from activities.partners.partner import Partner, Unreadable
from activities.signatures import SignatureError, SignedRequest
from receiver.answers import Refused, Verdict, in_its_own_way
from receiver.budget import SignalBudget
from receiver.forwarder import Fate, Forwarder, TemporalAway, request_id
from workflows.contract import LARGEST_OUTCOME, Answer, Callback

logger = logging.getLogger("stagehook.callbacks")

LARGEST_BODY: Final = 1024 * 1024
BODY_SECONDS: Final = 5.0
"""Shorter than the server's grace after SIGTERM, so that a half-sent body gets its answer."""

ONLY_ONCE: Final = ("content-type", "content-encoding", "content-length", "transfer-encoding", "host", "authorization")
"""Headers that two readers could understand differently when they are repeated."""

VERDICTS: Final = {
    Fate.TAKEN: Verdict.ACCEPTED,
    Fate.FINISHED: Verdict.GONE,
    Fate.REPLACED: Verdict.GONE,
    Fate.UNKNOWN: Verdict.UNKNOWN,
}


class Callbacks:
    """The endpoint; its arguments are made once, by `create_app`."""

    def __init__(self, urls: CallbackURLs, partners: Mapping[str, Partner], forwarder: Forwarder) -> None:
        self._urls = urls
        self._partners = partners
        self._forwarder = forwarder
        self._budget = SignalBudget()

    async def receive(self, request: Request) -> Response:
        """Take one callback."""
        began = time.monotonic()
        claims: Claims | None = None
        try:
            claims = self._redeem(request)
            verdict = await self._deliver(request, claims)
            response: Response = verdict.respond()
        except Refused as refused:
            verdict, response, claims = refused.verdict, refused.respond(), claims or refused.claims
        response = in_its_own_way(self._partners.get(claims.partner) if claims else None, verdict, response)
        _log(verdict, response.status_code, claims, began)
        return response

    def _redeem(self, request: Request) -> Claims:
        # The raw path: a decoded one would give a token many spellings.
        path: str = request.scope["raw_path"].decode("latin-1")
        try:
            return self._urls.redeem(path.removeprefix(CALLBACKS_PATH))
        except BadToken:
            raise Refused(Verdict.UNKNOWN, body_read=False) from None
        except ExpiredToken as expired:
            raise Refused(Verdict.GONE, body_read=False, claims=expired.claims) from None

    def _prove(self, request: Request, partner: Partner, body: bytes) -> str:
        """Check the body signature, on the raw bytes, before anything reads them; return the id that it covers."""
        if partner.signature is None:
            return ""
        query = request.scope["query_string"].decode("latin-1")
        path = request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]]
        received = SignedRequest(request.method, self._urls.public_url + path, headers, body)
        try:
            return partner.signature.verify(received, time.time()).delivery_id or ""
        except SignatureError as error:
            raise Refused(Verdict.UNPROVEN, error.reason) from error

    async def _deliver(self, request: Request, claims: Claims) -> Verdict:
        partner = self._partners.get(claims.partner)
        if partner is None:
            # Our own token names a partner that this receiver was started without.
            logger.error("partner-not-enabled", extra={"partner": claims.partner})
            raise Refused(Verdict.UNAVAILABLE, body_read=False)
        _check_headers(request, partner)
        body = await _read_body(request)
        delivery_id = self._prove(request, partner, body)
        answer = _read_answer(partner, body)
        callback = Callback(answer, claims.chain_id, claims.attempt, claims.issued_at)
        signal_id = request_id(claims, body, delivery_id) if answer.settles or delivery_id else uuid.uuid4().hex
        if wait := self._budget.seconds_to_wait(claims, signal_id, settles=answer.settles):
            raise Refused(Verdict.TOO_MANY, retry_after=math.ceil(wait))
        try:
            verdict = VERDICTS[await self._forwarder.forward(claims, callback, signal_id)]
        except TemporalAway as error:
            self._budget.give_back(claims, signal_id)
            logger.warning("temporal-away", extra={"why": str(error)})
            raise Refused(Verdict.UNAVAILABLE) from error
        if verdict is Verdict.UNKNOWN:
            raise Refused(verdict, body_read=False)  # not to be told from a forged token, to the last header
        return verdict


def _check_headers(request: Request, partner: Partner) -> None:
    for name in ONLY_ONCE:
        if len(request.headers.getlist(name)) > 1:
            raise Refused(Verdict.MALFORMED, f"{name} is given more than once", body_read=False)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != partner.content_type:
        raise Refused(Verdict.WRONG_TYPE, f"send {partner.content_type}", body_read=False)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(Verdict.WRONG_TYPE, "send the body without a Content-Encoding", body_read=False)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise Refused(Verdict.TOO_LARGE, f"send at most {LARGEST_BODY} bytes", body_read=False)
    except TimeoutError:
        raise Refused(Verdict.TOO_SLOW, body_read=False) from None
    except ClientDisconnect:
        raise Refused(Verdict.MALFORMED, "the body ended early", body_read=False) from None
    return bytes(body)


def _read_answer(partner: Partner, body: bytes) -> Answer:
    try:
        answer = partner.read_callback(body)
    except Unreadable as error:
        raise Refused(Verdict.UNREADABLE, str(error)) from error
    if answer.size > LARGEST_OUTCOME:
        raise Refused(Verdict.TOO_LARGE, f"the outcome may have at most {LARGEST_OUTCOME} bytes")
    return answer


def _log(verdict: Verdict, status: int, claims: Claims | None, began: float) -> None:
    """One line for a request: its verdict and the token's claims, never the token."""
    known = (
        {}
        if claims is None
        else {
            "partner": claims.partner,
            "workflow_id": claims.workflow_id,
            "stage": claims.stage,
            "attempt": claims.attempt,
        }
    )
    took = round((time.monotonic() - began) * 1000)
    logger.info("callback", extra={"verdict": verdict.name.lower(), "status": status, **known, "ms": took})
