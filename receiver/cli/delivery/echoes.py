"""Echoes: what a relay sends comes in again if its store is the receiver's own. It must not be sent without end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from receiver.deliveries.delivery import Delivery
from receiver.replay.sending import Replayed

ECHO_SECONDS: Final = 180.0
"""Seconds in which an echo must be found. The same content that comes later is the partner's: it has sent it again."""

EchoKey = tuple[str, int, int, int, int, str]
"""What a sent event and its echo have in common: chain, stage, attempt, time of the call, part, digest of the body."""


class Echoes:
    """The events that were sent into their captured runs in the last `ECHO_SECONDS`, each to be recognized once."""

    def __init__(self) -> None:
        self._deadlines: dict[EchoKey, deque[float]] = {}
        self._in_order: deque[tuple[float, EchoKey]] = deque()

    def __len__(self) -> int:
        return len(self._in_order)

    def expect(self, replayed: Sequence[Replayed]) -> None:
        """Expect the echo of each event that was sent into its captured run."""
        self._forget()
        deadline = time.monotonic() + ECHO_SECONDS
        for one in replayed:
            if one.workflow_id == one.delivery.workflow_id:
                key = _key_of(one.delivery, one.kept_digest)
                self._deadlines.setdefault(key, deque()).append(deadline)
                self._in_order.append((deadline, key))

    def take(self, found: Sequence[Delivery], known: Mapping[str, object]) -> set[str]:
        """Return the ids of the requests that are echoes. known: the ids of events that were handled before."""
        self._forget()
        requests = {one.id: one for one in found}
        return {
            one.part_of or one.id
            for one in found
            if one.id not in known and self._is_expected(_key_of(one, requests.get(one.part_of, one).body_digest))
        }

    def _is_expected(self, key: EchoKey) -> bool:
        deadlines = self._deadlines.get(key)
        if not deadlines:
            return False
        deadlines.popleft()
        return True

    def _forget(self) -> None:
        """Drop the expectations whose time is over."""
        now = time.monotonic()
        while self._in_order and self._in_order[0][0] <= now:
            _, key = self._in_order.popleft()
            deadlines = self._deadlines.get(key, deque())
            while deadlines and deadlines[0] <= now:
                deadlines.popleft()
            if not deadlines:
                self._deadlines.pop(key, None)


def _key_of(one: Delivery, body_digest: str) -> EchoKey:
    return one.chain_id, one.stage, one.attempt, one.issued_at, one.part, body_digest
