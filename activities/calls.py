"""PartnerCalls: the activity that asks a partner to do a stage's work.

Errors are mapped once, here. `PartnerRefused` is final and means that the partner certainly did not take the call; any
other error is tried again with the same idempotency key and URL until the stage's `call_within` is over, and after that
the workflow still waits, for the partner may have taken a call whose answer was lost.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NoReturn
from urllib.parse import quote, unquote

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.callback_urls import CallbackURLs, Claims
from activities.partners.partner import Partner, Unreadable
from workflows.contract import REFUSED, PartnerActivities, Receipt, StageCall

CONNECT_SECONDS: Final = 10.0
ANSWER_SHARE: Final = 0.9
"""Of a try's start-to-close time, what the partner gets; the rest is for telling Temporal how it ended."""

LARGEST_ANSWER: Final = 1024 * 1024
LONGEST_WORDS: Final = 300
"""Characters of a partner's error that travel into the history."""

LONGEST_RETRY_AFTER: Final = timedelta(hours=1)
NOT_TAKEN: Final = "not taken"
"""Heartbeat of a try that surely never reached the partner's work. A try without it may have been taken."""

NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
RETRIED: Final = {408, 429}
FRAMING: Final = {b"content-encoding", b"content-length", b"transfer-encoding"}
"""Headers that no longer hold for a body that has been read and decoded."""


def http_client() -> httpx.AsyncClient:
    """The worker's one client: bounded connections, no redirects, no credentials from the environment."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        follow_redirects=False,
        trust_env=False,
    )


class PartnerCalls:
    """The activities of `workflows.contract.PartnerActivities`; its arguments are made once, by the worker."""

    def __init__(self, http: httpx.AsyncClient, urls: CallbackURLs, partners: Mapping[str, Partner]) -> None:
        self._http = http
        self._urls = urls
        self._partners = partners

    @activity.defn
    async def call_partner(self, call: StageCall) -> Receipt:
        """Send the call and read the immediate answer."""
        partner = self._partners.get(call.partner)
        if partner is None:
            raise ApplicationError(
                f"partner {call.partner} is not enabled: add it to PARTNERS and restart the worker",
                type="PartnerNotEnabled",
            )
        claims = Claims.of(call)
        callback_url = self._urls.issue(claims)
        request = partner.build_call(call, callback_url)
        request.headers["Idempotency-Key"] = claims.idempotency_key
        response = await self._send(partner, request)
        words = _words(response, callback_url)
        if not response.is_success:
            _raise_for(partner, response, words)
        try:
            receipt = partner.read_receipt(response)
        except Unreadable as error:
            raise _retryable(f"partner {partner.name} took the call and answered unreadably: {error}") from None
        return Receipt(reference=receipt.reference[:LONGEST_WORDS], key=self._urls.fingerprint, answer=receipt.answer)

    async def _send(self, partner: Partner, request: httpx.Request) -> httpx.Response:
        """Send, and read a bounded answer in bounded time. httpx's own messages stay out: they may quote the URL."""
        allowed = (activity.info().start_to_close_timeout or timedelta(seconds=30)).total_seconds() * ANSWER_SHARE
        try:
            async with asyncio.timeout(allowed):
                response = await self._http.send(request, auth=partner.auth or httpx.Auth(), stream=True)
                try:
                    return await _read(response)
                finally:
                    await response.aclose()
        except NEVER_SENT as error:
            _note_not_taken()
            raise _retryable(f"partner {partner.name} could not be reached ({type(error).__name__})") from None
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            raise _retryable(f"partner {partner.name} gave no whole answer ({type(error).__name__})") from None


async def _read(response: httpx.Response) -> httpx.Response:
    """The response with its body, cut off where a body would be larger than any answer."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise httpx.ReadError("the answer is too large")
    # Raw pairs: a header that is not ASCII is the partner's mistake, and no reason to lose its answer.
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in FRAMING]
    return httpx.Response(response.status_code, headers=headers, content=body, request=response.request)


def _raise_for(partner: Partner, response: httpx.Response, words: str) -> NoReturn:
    status = response.status_code
    said = f"partner {partner.name} answered {status}" + (f": {words}" if words else "")
    if status in {429, 503}:
        _note_not_taken()
    if status in RETRIED or status >= 500 or status < 400:
        raise _retryable(said, _retry_after(response))
    # Told no by a partner that may have taken an earlier try: its callback still counts.
    if _earlier_try_may_be_taken():
        raise ApplicationError(said, type="PartnerUnclear", non_retryable=True)
    raise ApplicationError(said, type=REFUSED, non_retryable=True)


def _retryable(message: str, delay: timedelta | None = None) -> ApplicationError:
    return ApplicationError(message, type="PartnerUnclear", next_retry_delay=delay)


def _note_not_taken() -> None:
    if not _earlier_try_may_be_taken():
        activity.heartbeat(NOT_TAKEN)


def _earlier_try_may_be_taken() -> bool:
    """A try that was killed or timed out leaves no word, so only an unbroken chain of heartbeats is sure."""
    info = activity.info()
    return info.attempt > 1 and list(info.heartbeat_details) != [NOT_TAKEN]


def _retry_after(response: httpx.Response) -> timedelta | None:
    """Retry-After in seconds or as a date (RFC 9110, 10.2.3), at most an hour."""
    value = response.headers.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(timedelta(seconds=int(value)), LONGEST_RETRY_AFTER) or None
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(timedelta(seconds=math.ceil(seconds)), LONGEST_RETRY_AFTER) if seconds > 0 else None


def _words(response: httpx.Response, callback_url: str) -> str:
    """What the partner says, in one short line, without the token or the credentials that it may have echoed."""
    token = callback_url.rpartition("/")[2]
    text = response.content[: 16 * LONGEST_WORDS].decode("utf-8", "replace")
    for secret in _secrets(response.request, token):
        for spelling in {secret, quote(secret, safe=""), quote(secret)}:
            text = text.replace(spelling, "[removed]")
    if token in unquote(text):
        return "[removed]"
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()[:LONGEST_WORDS]


def _secrets(request: httpx.Request, token: str) -> list[str]:
    authorization = request.headers.get("authorization", "")
    return [secret for secret in (token, authorization, authorization.rpartition(" ")[2]) if len(secret) >= 8]


def _conforms(calls: PartnerCalls) -> PartnerActivities:
    """Ties this class to what workflows expect, for mypy."""
    return calls
