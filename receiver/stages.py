"""Stages: finds the stage that an event at a partner's one webhook URL is for, by its token or its reference."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from typing import Final

from activities.callback_urls import CALLBACKS_PATH, CLOCK_GRACE, BadToken, CallbackURLs, Claims, ExpiredToken
from activities.partners.answers import BrokenAnswer
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.redaction.tokens import tokens
from receiver.answers import Refused, Verdict
from receiver.deliveries.matching import KnownCalls
from receiver.reading import broken
from receiver.sending.forwarder import Forwarder
from workflows.stage_record import LONGEST_TEXT

WORD: Final = re.compile(rb"[A-Za-z0-9_.:/-]{4,300}")
MOST_WORDS: Final = 2_000
"""Different words of a body that are looked up as references."""

StageOrVerdict = Claims | Verdict
"""The claims of the stage's call, or the verdict for an event without one: `IGNORED`, `GONE` or `UNMATCHED`."""


class Stages:
    """Finds stages. forwarder: looks references up in the store."""

    def __init__(self, urls: CallbackURLs, forwarder: Forwarder) -> None:
        self._urls = urls
        self._forwarder = forwarder

    async def find(self, partner: Partner, events: Sequence[Event]) -> list[StageOrVerdict]:
        """Find the stage of each event. Raises `Unavailable` if the store cannot be asked."""
        if partner.stage_by == "token":
            return [self._by_token(partner, event.token) for event in events]
        references = [event.reference for event in events if can_be_ours(event.reference)]
        known = await self._forwarder.find_calls(partner.name, references) if references else KnownCalls({}, False)
        return [_by_reference(event.reference, known) for event in events]

    async def check_not_ours(self, partner: Partner, body: bytes) -> None:
        """Check a body whose events the file takes for not ours. Raises `Refused` if it holds what is ours.

        A 2xx would lose a result: the file overlooks a token of ours, or a reference of a call. Raises `Unavailable`.
        """
        [is_ours] = await self.hold_ours(partner, [body])
        if is_ours:
            raise overlooked(partner)

    async def hold_ours(self, partner: Partner, bodies: Sequence[bytes]) -> list[bool]:
        """Whether each of these bodies holds a token of ours, or a reference of a call. Raises `Unavailable`."""
        if partner.stage_by == "token":
            return [any(self._is_of(partner, text) for text in _texts_like_tokens(body)) for body in bodies]
        words = [{word.decode() for word in WORD.findall(body)} for body in bodies]
        asked = list(dict.fromkeys(itertools.chain.from_iterable(words)))[:MOST_WORDS]
        known = (await self._forwarder.find_calls(partner.name, asked)).claims if asked else {}
        return [not one.isdisjoint(known) for one in words]

    def _by_token(self, partner: Partner, token: str) -> StageOrVerdict:
        """The claims of a token. One that is not ours, or another partner's, belongs to another system's work."""
        expired = False
        try:
            claims = self._urls.redeem(token.rpartition(CALLBACKS_PATH)[2])
        except BadToken:
            return Verdict.IGNORED
        except ExpiredToken as error:
            claims, expired = error.claims, True
        # A signature by one partner proves nothing about the work of another partner.
        if claims.partner != partner.name:
            return Verdict.IGNORED
        return Verdict.GONE if expired else claims

    def _is_of(self, partner: Partner, token: str) -> bool:
        """Whether this is a token of a call to this partner, even an expired one."""
        return self._by_token(partner, token) is not Verdict.IGNORED


def overlooked(partner: Partner) -> Refused:
    """The refusal of an event of ours that the partner's file takes for not ours."""
    what = "the callback URL" if partner.stage_by == "token" else "the reference"
    mistake = f"read_event overlooked {what} of a call of ours, which the body holds"
    advice = "return an Event with it, and progress for news that settle nothing"
    return broken(partner, BrokenAnswer(f"{mistake}: {advice}"))


def can_be_ours(reference: str) -> bool:
    """Whether a receipt can have given this reference; see `activities.receipts`."""
    return 0 < len(reference) <= LONGEST_TEXT and "\0" not in reference


def _texts_like_tokens(body: bytes) -> Iterator[str]:
    return (body[found.start : found.end].decode("latin-1") for found in tokens(body))


def _by_reference(reference: str, known: KnownCalls) -> StageOrVerdict:
    claims = known.claims.get(reference)
    if claims is None:
        return Verdict.UNMATCHED if can_be_ours(reference) and known.is_waiting else Verdict.IGNORED
    return Verdict.GONE if time.time() > claims.expires_at + CLOCK_GRACE else claims
