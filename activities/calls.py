"""PartnerCalls: the activities that ask a partner to do a stage's work, and how that work stands.

Errors are mapped once, here. A 2xx is acceptance, whatever its body looks like: the call is never sent again.
`PartnerRefused` is final and means that the partner certainly did not take the call; any other error is tried again
with the same idempotency key and URL until the stage's `call_within` is over. After that the workflow still waits, for
the partner may have taken a call whose answer was lost, unless no try can have been taken.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NoReturn
from urllib.parse import quote, unquote, unquote_plus

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.callback_urls import CallbackURLs, Claims
from activities.http import NEVER_SENT, UNANSWERED, exchange
from activities.http import http_client as http_client  # for the tests that `partner new` has written
from activities.partners.answers import BrokenAnswer
from activities.partners.partner import Partner
from activities.receipts import accepted, built, one_line, status
from workflows.contract import (
    NOT_REACHED,
    REFUSED,
    Answer,
    PartnerActivities,
    Question,
    Receipt,
    StageCall,
)

ANSWER_SHARE: Final = 0.9
"""Of a try's start-to-close time, what the partner gets; the rest is for telling Temporal how it ended."""

LONGEST_RETRY_AFTER: Final = timedelta(hours=1)
NOT_TAKEN: Final = "not taken"
"""Heartbeat of a try that surely never reached the partner's work, with the try's number: Temporal keeps the last
heartbeat through tries that send none, and those may have been taken."""

RETRIED: Final = {408, 429}
AUTHENTICATING: Final = re.compile(r"(?i)auth|key|token|secret|signature|password|cookie")
"""Names of headers and query fields whose values are credentials."""

SHORTEST_SECRET: Final = 8
"""Characters; what is shorter is no credential, and removing it would garble the partner's words."""

JSON_ESCAPE: Final = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/]))')


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
            raise _not_taken(f"partner {call.partner} is not enabled: add it to PARTNERS and restart the worker", call)
        claims = Claims.of(call)
        callback_url = self._urls.issue(claims)
        try:
            request = built(partner.build_call, call, callback_url)
        except BrokenAnswer as error:
            raise _not_taken(f"partner {partner.name} cannot be called: {error}", call) from None
        request.headers["Idempotency-Key"] = claims.idempotency_key
        response = await self._send(partner, request, call)
        if not response.is_success:
            _raise_for(
                call, response, answer_line(partner, response.status_code, partner_words(response, callback_url))
            )
        return replace(accepted(partner, response), key=self._urls.fingerprint)

    @activity.defn
    async def ask_partner(self, question: Question) -> Answer:
        """Ask how the work stands. Whatever goes wrong says nothing about the work, so that no error is final."""
        partner = self._partners.get(question.call.partner)
        if partner is None or partner.build_ask is None or partner.read_status is None:
            raise _no_status(f"partner {question.call.partner} cannot be asked by this worker")
        try:
            request = built(partner.build_ask, question.call, question.reference)
        except BrokenAnswer as error:
            raise _no_status(f"partner {partner.name} cannot be asked: {error}") from None
        try:
            response = await self._exchange(partner, request)
        except UNANSWERED as error:
            raise _no_status(f"partner {partner.name} gave no whole answer ({type(error).__name__})") from None
        except Exception as error:
            raise _no_status(
                f"the request to partner {partner.name} failed, perhaps in its auth ({type(error).__name__})"
            ) from None
        if not response.is_success:
            said = partner_words(response, self._urls.issue(Claims.of(question.call)))
            raise _no_status(answer_line(partner, response.status_code, said), _retry_after(response))
        try:
            return status(partner.read_status, response)
        except BrokenAnswer as error:
            raise _no_status(f"partner {partner.name} answered, but its answer cannot be used: {error}") from None

    async def _send(self, partner: Partner, request: httpx.Request, call: StageCall) -> httpx.Response:
        """Send a call."""
        try:
            return await self._exchange(partner, request)
        except NEVER_SENT as error:
            raise _not_taken(f"partner {partner.name} could not be reached ({type(error).__name__})", call) from None
        except UNANSWERED as error:
            raise _retryable(f"partner {partner.name} gave no whole answer ({type(error).__name__})") from None
        except Exception as error:
            raise _retryable(
                f"the request to partner {partner.name} failed, perhaps in its auth ({type(error).__name__})"
            ) from None

    async def _exchange(self, partner: Partner, request: httpx.Request) -> httpx.Response:
        allowed = (activity.info().start_to_close_timeout or timedelta(seconds=30)).total_seconds() * ANSWER_SHARE
        return await exchange(self._http, partner, request, within=allowed)


def _raise_for(call: StageCall, response: httpx.Response, said: str) -> NoReturn:
    status = response.status_code
    # A router's bare 503 says nothing of the application behind it; with Retry-After it is a refusal to begin.
    if status == 429 or (status == 503 and "retry-after" in response.headers):
        raise _not_taken(said, call, _retry_after(response))
    if status in RETRIED or status >= 500 or status < 400:
        raise _retryable(said, _retry_after(response))
    # Told no by a partner that may have taken an earlier try: its callback still counts.
    if _earlier_try_may_be_taken(call):
        raise ApplicationError(said, type="PartnerUnclear", non_retryable=True)
    raise ApplicationError(said, type=REFUSED, non_retryable=True)


def _retryable(message: str, delay: timedelta | None = None) -> ApplicationError:
    return ApplicationError(message, type="PartnerUnclear", next_retry_delay=delay)


def _no_status(message: str, delay: timedelta | None = None) -> ApplicationError:
    return ApplicationError(message, type="PartnerNotAsked", next_retry_delay=delay)


def _not_taken(message: str, call: StageCall, delay: timedelta | None = None) -> ApplicationError:
    """The error of a try that surely was not taken: that says all of the call only if no earlier one may have been."""
    if _earlier_try_may_be_taken(call):
        return _retryable(message, delay)
    activity.heartbeat(NOT_TAKEN, activity.info().attempt)
    return ApplicationError(message, type=NOT_REACHED, next_retry_delay=delay)


def _earlier_try_may_be_taken(call: StageCall) -> bool:
    """A try that was killed or timed out leaves no word, so only an unbroken chain of heartbeats is sure."""
    info = activity.info()
    if info.attempt == 1:
        return call.repeated
    return list(info.heartbeat_details) != [NOT_TAKEN, info.attempt - 1]


def _retry_after(response: httpx.Response) -> timedelta | None:
    """Retry-After in seconds or as a date (RFC 9110, 10.2.3), at most an hour."""
    value = response.headers.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(timedelta(seconds=int(value)), LONGEST_RETRY_AFTER) or None
    try:
        until = parsedate_to_datetime(value)
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(timedelta(seconds=math.ceil(seconds)), LONGEST_RETRY_AFTER) if seconds > 0 else None


def answer_line(partner: Partner, status: int, said: str) -> str:
    """An answer in one line: who answered, the status, and what it says by `words`."""
    return f"partner {partner.name} answered {status}" + (f": {said}" if said else "")


def partner_words(response: httpx.Response, *callback_urls: str) -> str:
    """What the partner says, in one short line, without the tokens or the credentials that it may have echoed."""
    tokens = [url.rpartition("/")[2] for url in callback_urls]
    text = response.content.decode("utf-8", "replace")
    secrets = _secrets(response.request, tokens)
    for secret in secrets:
        for spelling in {secret, quote(secret, safe=""), quote(secret)}:
            text = text.replace(spelling, "[removed]")
    if any(secret in reading for reading in _readings(text) for secret in secrets):
        return "[removed]"
    return one_line(text)


def _readings(text: str) -> Iterator[str]:
    """What a reader may take the text for, who knows JSON's escapes, and a URL's or a form's within."""
    plain = JSON_ESCAPE.sub(lambda found: found[2] or chr(int(found[1], 16)), text)
    yield from (plain, unquote(plain), unquote_plus(plain))


def _secrets(request: httpx.Request, tokens: Iterable[str]) -> list[str]:
    """The tokens, and whatever authenticated the request: by a header or in the query, Basic's parts decoded."""
    values = [
        value
        for name, value in (*request.headers.items(), *request.url.params.multi_items())
        if AUTHENTICATING.search(name) and name.lower() != "idempotency-key"
    ]
    values += [value.rpartition(" ")[2] for value in values]
    values += [part for value in values for part in _basic_parts(value)]
    return [secret for secret in (*tokens, *values) if len(secret) >= SHORTEST_SECRET]


def _basic_parts(credentials: str) -> list[str]:
    """User and password: with some partners the key is the one, with others the other."""
    try:
        user, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return []
    return [user, password] if colon else []


def _conforms(calls: PartnerCalls) -> PartnerActivities:
    """Ties this class to what workflows expect, for mypy."""
    return calls
