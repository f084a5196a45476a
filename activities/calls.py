"""PartnerCalls: the activities that call a partner for a stage's work and ask for the work's status.

Only this module turns a partner's errors into Temporal's:

- A 2xx means that the partner accepted the call, whatever the body looks like. The call is never sent again.
- `PartnerRefused` is final: the partner certainly did not accept the call.
- Any other error is retried with the same idempotency key and URL until the stage's `call_within` has passed. Then the
  workflow still waits for a callback, because the partner may have accepted a call whose response was lost. It does
  not wait if the partner cannot have accepted any try (`PartnerNotReached`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn, Protocol

import httpx
from temporalio import activity
from temporalio.converter import value_to_type
from temporalio.exceptions import ApplicationError

from activities.call_errors import NOT_ASKED, UNCLEAR, CallError, reported
from activities.callback_urls import CallbackURLs, Claims
from activities.http import NEVER_SENT, UNANSWERED, NotAuthenticated, exchange
from activities.http import http_client as http_client  # for the tests that `partner new` has written
from activities.partner_words import answer_line, partner_words
from activities.partners.answers import BrokenAnswer
from activities.partners.partner import SHORTER_URL, Partner
from activities.reach import Reach
from activities.reaching import is_refused_handshake, plain_words
from activities.receipts import accepted, built, status
from activities.store.call_notes import CallNotes
from activities.store.calls import CallOrigin
from activities.store.errors import StoreAway
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
"""The partner's share of a try's start-to-close timeout; the rest is for recording the reference and for reporting the
result to Temporal."""

LONGEST_RETRY_AFTER: Final = timedelta(hours=1)
NOT_TAKEN: Final = "not taken"
"""Heartbeat of a try that the partner certainly did not accept, sent with the try's number. A later try that sends no
heartbeat may have been accepted, but Temporal still shows the last heartbeat: only its number tells that it is older.
"""

TAKEN: Final = "taken"
"""Heartbeat of a try that the partner accepted, with its receipt, while the store was away."""

RETRIED: Final = {408, 429}


class CallTable(Protocol):
    """What calls need of `activities.store.calls.Calls`. The methods raise `StoreAway`."""

    async def begin(self, claims: Claims, origin: CallOrigin) -> None:
        """Record a call that is about to be sent."""

    async def refer(self, claims: Claims, reference: str) -> None:
        """Record the partner's own id of the call's work."""

    async def forget(self, claims: Claims) -> None:
        """Remove a call for which no event can come, unless its id is recorded."""


class PartnerCalls:
    """Implements `workflows.contract.PartnerActivities`. The worker creates the arguments once.

    calls: the store's table of calls, or None without a store. notes: writes to it behind the call.
    reach: learns from each try whether it reached the partner, if there is only one.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        urls: CallbackURLs,
        partners: Mapping[str, Partner],
        calls: CallTable | None = None,
        notes: CallNotes | None = None,
        reach: Reach | None = None,
    ) -> None:
        self._http = http
        self._urls = urls
        self.partners = partners
        self._calls = calls
        self._notes = notes
        self._reach = reach

    @activity.defn
    async def call_partner(self, call: StageCall) -> Receipt:
        """Send the call and return the partner's immediate answer."""
        with reported("call", call):
            return await self._call(call)

    async def _call(self, call: StageCall) -> Receipt:
        partner = self.partners.get(call.partner)
        if partner is None:
            raise _not_taken(f"partner {call.partner} is not enabled: add it to PARTNERS and restart the worker", call)
        if partner.stage_by == "reference":
            return await self._call_for_reference(partner, call)
        if self._notes is not None and activity.info().attempt == 1 and not call.repeated:  # when it was first sent
            self._notes.put(Claims.of(call), self._origin(partner, call))
        return await self._make(partner, call)

    def _origin(self, partner: Partner, call: StageCall) -> CallOrigin:
        return CallOrigin(call.pipeline, call.definition, self._urls.fingerprint, partner.stage_by)

    async def _call_for_reference(self, partner: Partner, call: StageCall) -> Receipt:
        """Make a call whose callbacks are understood only by the partner's id of the work, and record that id.

        The call's row is committed before the request, and the id before the activity ends. If the store goes away in
        between, the receipt is kept in the heartbeat, and the next try writes only the id: the partner has the call.
        """
        if self._calls is None:
            raise _not_taken(f"partner {partner.name} needs a store: set DATABASE_URL for the worker", call)
        claims, receipt = Claims.of(call), _kept_receipt()
        if receipt is None:
            try:
                await self._calls.begin(claims, self._origin(partner, call))
            except StoreAway as error:
                raise _not_taken(f"partner {partner.name} was not called: {error}", call) from None
            receipt = await self._begun(self._calls, partner, call)
        if not receipt.reference:
            if receipt.answer is not None and receipt.answer.settles:
                await _forget(self._calls, claims)
                return receipt
            return _without_reference(partner, call, receipt)
        try:
            # A store that hangs must not use up the try's time: then Temporal would not hear that the partner took it.
            async with asyncio.timeout(_seconds_of_try() * (1 - ANSWER_SHARE) / 2):
                await self._calls.refer(claims, receipt.reference)
        except (StoreAway, TimeoutError) as error:
            activity.heartbeat(TAKEN, receipt)
            why = str(error) or "the store does not answer"
            what = f"partner {partner.name} took the call as {receipt.reference}, which is not recorded yet: {why}"
            raise _retryable(what) from None
        return receipt

    async def _begun(self, table: CallTable, partner: Partner, call: StageCall) -> Receipt:
        """Make a call whose row is committed. The row is removed if the partner certainly did not accept the call."""
        try:
            return await self._make(partner, call)
        except ApplicationError as error:
            if error.type in {REFUSED, NOT_REACHED}:
                await _forget(table, Claims.of(call))
            raise

    async def _make(self, partner: Partner, call: StageCall) -> Receipt:
        callback_url = self._callback_url(partner, call)
        try:
            request = built(partner.build_call, call, callback_url)
        except BrokenAnswer as error:
            raise _not_taken(f"partner {partner.name} cannot be called: {error}", call) from None
        if partner.idempotency_header:
            request.headers[partner.idempotency_header] = Claims.of(call).idempotency_key
        response = await self._send(partner, request, call)
        if not response.is_success:
            _raise_for(
                call, response, answer_line(partner, response.status_code, partner_words(response, callback_url))
            )
        return replace(accepted(partner, response), key=self._urls.fingerprint)

    def _callback_url(self, partner: Partner, call: StageCall) -> str:
        """The call's URL. A URL that the partner cannot take is final: no later try has a shorter one."""
        try:
            callback_url = self._urls.of(call)
        except ValueError as error:  # a worker of a later release has begun this call
            raise _not_taken(f"{error}; a worker of a later release can make this call", call) from None
        if flaw := partner.flaw_of_url(callback_url):
            raise _refused(f"partner {partner.name} is not called: {flaw}: {SHORTER_URL}", call)
        return callback_url

    @activity.defn
    async def ask_partner(self, question: Question) -> Answer:
        """Ask the partner for the work's status. No error is final, because an error says nothing about the work."""
        with reported("ask", question.call):
            return await self._ask(question)

    async def _ask(self, question: Question) -> Answer:
        partner = self.partners.get(question.call.partner)
        if partner is None or partner.build_ask is None or partner.read_status is None:
            raise _no_status(f"partner {question.call.partner} cannot be asked by this worker")
        try:
            request = built(partner.build_ask, question.call, question.reference)
        except BrokenAnswer as error:
            raise _no_status(f"partner {partner.name} cannot be asked: {error}") from None
        try:
            response = await self._exchange(partner, request)
        except UNANSWERED as error:
            why = plain_words(error, partner.connection)
            raise _no_status(f"partner {partner.name} gave no whole answer ({why})") from None
        except NotAuthenticated as error:
            raise _no_status(f"partner {partner.name} was not asked: {error}") from None
        except Exception as error:
            raise _no_status(
                f"the request to partner {partner.name} failed, perhaps in its auth ({type(error).__name__})"
            ) from None
        if not response.is_success:
            said = partner_words(response, self._urls.of(question.call))
            raise _no_status(answer_line(partner, response.status_code, said), response)
        try:
            return status(partner.read_status, response)
        except BrokenAnswer as error:
            raise _no_status(f"partner {partner.name} answered, but its answer cannot be used: {error}") from None

    async def _send(self, partner: Partner, request: httpx.Request, call: StageCall) -> httpx.Response:
        """Send a call; map what goes wrong to retryable errors."""
        began = self._reach.began() if self._reach else 0.0
        try:
            response = await self._exchange(partner, request)
        except UNANSWERED as error:
            not_sent = isinstance(error, NEVER_SENT) or is_refused_handshake(error)
            if not isinstance(error, httpx.PoolTimeout):  # that is about our own connections
                self._note_reach(began, reached=not not_sent)
            why = plain_words(error, partner.connection)
            if not_sent:
                raise _not_taken(f"partner {partner.name} could not be reached ({why})", call) from None
            raise _retryable(f"partner {partner.name} gave no whole answer ({why})") from None
        except NotAuthenticated as error:
            raise _not_taken(f"partner {partner.name} was not called: {error}", call) from None
        except Exception as error:
            raise _retryable(
                f"the request to partner {partner.name} failed, perhaps in its auth ({type(error).__name__})"
            ) from None
        self._note_reach(began, reached=True)
        return response

    def _note_reach(self, began: float, *, reached: bool) -> None:
        if self._reach is not None:
            self._reach.reached(began) if reached else self._reach.missed(began)

    async def _exchange(self, partner: Partner, request: httpx.Request) -> httpx.Response:
        return await exchange(self._http, partner, request, within=_seconds_of_try() * ANSWER_SHARE)


def _seconds_of_try() -> float:
    return (activity.info().start_to_close_timeout or timedelta(seconds=30)).total_seconds()


def _kept_receipt() -> Receipt | None:
    """The receipt of an earlier try that the partner accepted, but whose reference could not be recorded."""
    match list(activity.info().heartbeat_details):
        case [word, receipt] if word == TAKEN:
            kept: Receipt = value_to_type(Receipt, receipt)
            return kept
    return None


async def _forget(table: CallTable, claims: Claims) -> None:
    """Let no event wait for the reference of this call. While the store is away the row stays until it expires."""
    with contextlib.suppress(StoreAway):
        await table.forget(claims)


def _without_reference(partner: Partner, call: StageCall, receipt: Receipt) -> Receipt:
    """What to do with a call that the partner accepted without an id that can be read."""
    if partner.idempotent:
        raise _retryable(receipt.note or f"partner {partner.name} took the call, but its answer has no id of the work")
    record_it = f"`stagehook pipeline reference {call.workflow_id} {call.stage} ID`"
    note = (
        f"no callback can be matched to this call until its id is recorded: find it at the partner, and use {record_it}"
    )
    return replace(receipt, note="; ".join(filter(None, (receipt.note, note))))


def _raise_for(call: StageCall, response: httpx.Response, said: str) -> NoReturn:
    status = response.status_code
    # A 429, or a 503 with Retry-After, refuses to begin the work. A bare 503 may come from a router, and says nothing
    # about the application behind it. A 407 comes from a proxy before it.
    if status in {407, 429} or (status == 503 and "retry-after" in response.headers):
        raise _not_taken(said, call, response)
    if status in RETRIED or status >= 500 or status < 400:
        raise _retryable(said, response)
    raise _refused(said, call, response)


def _retryable(message: str, response: httpx.Response | None = None) -> CallError:
    return CallError(message, kind=UNCLEAR, **_of_answer(response))


def _refused(message: str, call: StageCall, response: httpx.Response | None = None) -> CallError:
    """The final error of a call.

    Example: the first try times out, and the second gets a 409. The partner may have accepted the first try, so its
    callback still counts: do not retry, but wait.
    """
    type_ = UNCLEAR if _earlier_try_may_be_taken(call) else REFUSED
    return CallError(message, kind=type_, status=0 if response is None else response.status_code, final=True)


def _no_status(message: str, response: httpx.Response | None = None) -> CallError:
    return CallError(message, kind=NOT_ASKED, **_of_answer(response))


def _not_taken(message: str, call: StageCall, response: httpx.Response | None = None) -> CallError:
    """The error of a try that the partner certainly did not accept.

    It is `PartnerNotReached` only if the partner cannot have accepted an earlier try either.
    """
    if _earlier_try_may_be_taken(call):
        return _retryable(message, response)
    activity.heartbeat(NOT_TAKEN, activity.info().attempt)
    return CallError(message, kind=NOT_REACHED, **_of_answer(response))


def _of_answer(response: httpx.Response | None) -> dict[str, Any]:
    """What an error takes from the partner's answer."""
    return {} if response is None else {"status": response.status_code, "delay": _retry_after(response)}


def _earlier_try_may_be_taken(call: StageCall) -> bool:
    """Whether the partner may have accepted an earlier try of this call.

    A try that was killed or timed out sends no heartbeat. So the answer is no only if every try before this one sent
    `NOT_TAKEN` with its own number: at try 3, the last heartbeat must be `["not taken", 2]`.
    """
    info = activity.info()
    if info.attempt == 1:
        return call.repeated
    return list(info.heartbeat_details) != [NOT_TAKEN, info.attempt - 1]


def _retry_after(response: httpx.Response) -> timedelta | None:
    """Read Retry-After, in seconds or as a date (RFC 9110, 10.2.3); at most an hour, or None."""
    value = response.headers.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(timedelta(seconds=int(value)), LONGEST_RETRY_AFTER) or None
    try:
        until = parsedate_to_datetime(value)
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(timedelta(seconds=math.ceil(seconds)), LONGEST_RETRY_AFTER) if seconds > 0 else None


def _conforms(calls: PartnerCalls) -> PartnerActivities:
    """Make mypy check that the class implements the protocol."""
    return calls
