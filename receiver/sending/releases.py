"""Releases: an operator queues a kept delivery again, once its obstacle is removed.

If the kept callback cannot be sent, because the partner's file had an error at the time, the kept body is read again
with the partner's file as it is now. The body of a part is the part's share of its request's body.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Protocol

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs, Claims, TokenError
from activities.environment import SettingsError
from activities.partners import answers
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.received import Part, Received, Unreadable
from receiver.deliveries.archive import Archive, ReadAgain
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.errors import NoSuchDelivery
from receiver.sending.signal import Signal, read_kept_callback


class NotReadAgain(NoSuchDelivery):
    """A delivery's body was not kept, or its partner's file still cannot read it."""


class Surroundings(Protocol):
    """What a release needs of this environment. Both raise `SettingsError`."""

    def partner(self, name: str) -> Partner:
        """The partner of a name, as its file makes it now."""

    def urls(self) -> CallbackURLs:
        """Redeems the tokens in bodies."""


def release(
    archive: Archive, id_: str, at: float, here: Surroundings, *, expected_fate: Fate | None = None
) -> Delivery:
    """Queue a delivery whose signal is not pending. at: unix seconds. expected_fate: see `Archive.release`.

    Raises `NoSuchDelivery`, its subclass `NotReadAgain`, and `StoreAway`.
    """
    delivery, callback = archive.held(id_)
    if delivery.verdict == "unmatched":
        advice = "`stagehook pipeline reference RUN STAGE ID` records its call"
        raise NotReadAgain(f"{delivery.id} waits for the call with the reference {delivery.reference}: {advice}")
    if callback is None or delivery.fate is Fate.PENDING or _can_be_sent(callback):
        return archive.release(delivery.id, at, expected_fate=expected_fate)
    return archive.release(delivery.id, at, _Reading(archive, delivery, here).read(), expected_fate=expected_fate)


def _can_be_sent(callback: str) -> bool:
    try:
        read_kept_callback(callback)
    except Exception:
        # Whatever is wrong with the kept callback, it can be made again from the body.
        return False
    return True


@dataclass(frozen=True)
class _Reading:
    """Reads a kept delivery again. Its methods raise `NotReadAgain`."""

    archive: Archive
    delivery: Delivery
    here: Surroundings

    def read(self) -> ReadAgain:
        delivery = self.delivery
        try:
            partner = self.here.partner(delivery.partner)
            received = self._received(partner)
            event = answers.read_event(partner, received)
            claims = delivery.claims or (self._find_call(event) if event else None)
        except SettingsError as error:
            faults = "; ".join(map(str, error.faults))
            raise NotReadAgain(f"{delivery.partner}'s file has to read {delivery.id} again: {faults}") from error
        except Unreadable as error:
            what = f"{delivery.partner}'s file cannot read {delivery.id}: {answers.words_of(error)}"
            raise NotReadAgain(what) from error
        except answers.BrokenAnswer as error:
            what = f"{delivery.partner}'s file is still wrong for {delivery.id}: {error}"
            raise NotReadAgain(what) from error
        if event is None:
            raise self._not(f"is not ours, as {delivery.partner}'s file reads it")
        if claims is None:
            raise self._not("names no call of ours, or one that is not recorded yet")
        body = received.raw if isinstance(received, Part) else received.body
        signal = Signal.of(claims, event.answer, body, delivery.signed_id, part=delivery.part)
        # A taken signal's request id must not be used again: Temporal would take this signal for a repeat and drop it.
        request_id = uuid.uuid4().hex if delivery.fate is Fate.TAKEN else signal.request_id
        return ReadAgain(claims, signal.text, request_id, event.answer.status)

    def _received(self, partner: Partner) -> Received:
        """The request, or the part of it, that the delivery records."""
        delivery = self.delivery
        whole = self.archive.get(delivery.part_of) if delivery.part else delivery
        body = self.archive.kept_body(whole.id)
        if body is None:
            advice = "have the partner send it again"
            raise NotReadAgain(f"the body of {delivery.id} was not kept whole, so it cannot be read again: {advice}")
        received = whole.received(body)
        if not delivery.part:
            return received
        if partner.split is None:
            raise self._not(f"is part {delivery.part} of a request, and {delivery.partner}'s file splits no requests")
        parts = answers.split(partner, received)
        if len(parts) < delivery.part:
            raise self._not(f"is part {delivery.part}, and {delivery.partner}'s file now finds {len(parts)} parts")
        return parts[delivery.part - 1]

    def _find_call(self, event: Event) -> Claims | None:
        if event.reference:
            return self.archive.find_call(self.delivery.partner, event.reference)
        try:
            claims = self.here.urls().redeem(event.token.rpartition(CALLBACKS_PATH)[2])
        except TokenError:
            return None
        return claims if claims.partner == self.delivery.partner else None

    def _not(self, why: str) -> NotReadAgain:
        return NotReadAgain(f"the delivery {self.delivery.id} {why}")
