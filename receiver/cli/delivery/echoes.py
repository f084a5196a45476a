"""Echoes: what a relay sends comes in again if its store is the receiver's own. It must not be sent without end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from receiver.deliveries.delivery import Delivery
from receiver.replay.sending import Replayed

EchoKey = tuple[str, int, int, int, int, str]
"""What a sent event and its echo have in common: chain, stage, attempt, time of the call, part, digest of the body."""


class Echoes:
    """The events that were sent into their captured runs, each to be recognised once."""

    def __init__(self) -> None:
        self._expected: Counter[EchoKey] = Counter()

    def expect(self, replayed: Sequence[Replayed]) -> None:
        """Expect the echo of each event that was sent into its captured run."""
        for one in replayed:
            if one.workflow_id == one.delivery.workflow_id:
                self._expected[_key_of(one.delivery, one.kept_digest)] += 1

    def take(self, found: Sequence[Delivery], known: Mapping[str, object]) -> set[str]:
        """Return the ids of the requests that are echoes. known: the ids of events that were handled before."""
        requests = {one.id: one for one in found}
        return {
            one.part_of or one.id
            for one in found
            if one.id not in known and self._is_expected(one, requests.get(one.part_of, one))
        }

    def _is_expected(self, one: Delivery, request: Delivery) -> bool:
        key = _key_of(one, request.body_digest)
        if is_expected := self._expected[key] > 0:
            self._expected[key] -= 1
        return is_expected


def _key_of(one: Delivery, body_digest: str) -> EchoKey:
    return one.chain_id, one.stage, one.attempt, one.issued_at, one.part, body_digest
