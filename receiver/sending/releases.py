"""Releases: an operator queues a kept delivery again, once its obstacle is removed.

If the kept callback cannot be sent, because the partner's file had an error at the time, the kept body is read again
with the partner's file as it is now.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from activities.environment import SettingsError
from activities.partners import answers
from activities.partners.partner import Partner, Unreadable
from receiver.deliveries.archive import Archive, NoSuchDelivery, ReadAgain
from receiver.deliveries.delivery import Delivery, Fate
from receiver.sending.signal import Signal, read_kept_callback


class NotReadAgain(NoSuchDelivery):
    """A delivery's body was not kept, or its partner's file still cannot read it."""


def release(archive: Archive, id_: str, at: float, partner_of: Callable[[str], Partner]) -> Delivery:
    """Queue a delivery that is no longer pending. at: unix seconds.

    partner_of: returns the partner of a name, or raises `SettingsError`.

    Raises `NoSuchDelivery`, its subclass `NotReadAgain`, and `StoreAway`.
    """
    delivery, callback = archive.held(id_)
    if callback is None or delivery.fate is Fate.PENDING or _can_be_sent(callback):
        return archive.release(delivery.id, at)
    return archive.release(delivery.id, at, _read_again(delivery, partner_of))


def _can_be_sent(callback: str) -> bool:
    try:
        read_kept_callback(callback)
    except Exception:
        # Whatever is wrong with the kept callback, it can be made again from the body.
        return False
    return True


def _read_again(delivery: Delivery, partner_of: Callable[[str], Partner]) -> ReadAgain:
    claims, body = delivery.claims, delivery.body
    if claims is None or body is None:
        advice = "have the partner send it again"
        raise NotReadAgain(f"the body of {delivery.id} was not kept whole, so it cannot be read again: {advice}")
    try:
        answer = answers.read_callback(partner_of(delivery.partner), body)
    except SettingsError as error:
        faults = "; ".join(map(str, error.faults))
        raise NotReadAgain(f"{delivery.partner}'s file has to read {delivery.id} again: {faults}") from error
    except Unreadable as error:
        raise NotReadAgain(f"{delivery.partner}'s file cannot read {delivery.id}: {answers.words_of(error)}") from error
    except answers.BrokenAnswer as error:
        raise NotReadAgain(f"{delivery.partner}'s file is still wrong for {delivery.id}: {error}") from error
    signal = Signal.of(claims, answer, body, delivery.signed_id)
    # A taken signal's request id must not be used again: Temporal would take this signal for a repeat and drop it.
    request_id = uuid.uuid4().hex if delivery.fate is Fate.TAKEN else signal.request_id
    return ReadAgain(signal.text, request_id, answer.status)
