"""TakenMemory: deliveries that Temporal took while the store was away, until the store has them.

A callback that was answered 202 because Temporal took it is a duplicate when it is repeated, before and after the store
is back. So each process remembers its request id, its claims and the digests of its content, within `MAX_BYTES`. The
bodies of only a few are remembered.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from activities.store.schema import RECORD
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.queue import Queued
from receiver.deliveries.rows import to_row

MAX_WHOLE: Final = 20
"""Deliveries that are remembered with headers, body and callback. Few, because each body may have a mebibyte."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes for all other deliveries, some 20,000 of them. The oldest are forgotten first."""

ENTRY_OVERHEAD: Final = 450
"""Bytes that an entry takes in memory, in addition to its text."""

TAKEN_REASON: Final = "Temporal took it while the store was away"
REMEMBERED_COLUMNS: Final = (*(column.name for column in RECORD), "request_id")


class TakenMemory:
    """Deliveries by chain and stage, then by request id. The event loop adds to it; the writer's thread reads it."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._stages: OrderedDict[tuple[str, int], dict[str, bytes]] = OrderedDict()
        self._whole: dict[str, dict[str, Any]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return sum(len(taken) for taken in self._stages.values())

    @property
    def size(self) -> int:
        """Bytes in use, not counting the deliveries that are remembered whole."""
        return self._bytes

    def add(self, delivery: Delivery, queued: Queued) -> None:
        """Remember a delivery that Temporal has taken."""
        taken = replace(delivery, fate=Fate.TAKEN, fate_at=time.time(), fate_reason=TAKEN_REASON)
        bare = to_row(replace(taken, headers=(), body=None, client="")) | {"request_id": queued.request_id}
        packed = json.dumps([bare[name] for name in REMEMBERED_COLUMNS], separators=(",", ":")).encode()
        with self._lock:
            stage = self._stages.setdefault(queued.stage, {})
            if queued.request_id in stage:
                return
            stage[queued.request_id] = packed
            self._bytes += len(packed) + ENTRY_OVERHEAD
            if len(self._whole) < MAX_WHOLE:
                whole = {"request_id": queued.request_id, "callback": queued.callback}
                self._whole[queued.request_id] = to_row(taken) | whole
            while self._bytes > self._max_bytes:
                self._forget_oldest()

    def has(self, queued: Queued) -> bool:
        """Whether Temporal has taken this content."""
        if not self._stages:
            return False
        with self._lock:
            stage = self._stages.get(queued.stage, {})
            return queued.request_id in stage or queued.earlier_id in stage

    def of_stages(self, stages: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
        """The rows of these stages, given as chain id and number."""
        if not self._stages:
            return []
        with self._lock:
            return [self._row(packed) for stage in stages for packed in self._stages.get(stage, {}).values()]

    def oldest(self, most: int) -> list[dict[str, Any]]:
        """The rows that were added first, at most `most`."""
        with self._lock:
            return [self._row(packed) for packed in islice(self._packed(), most)]

    def remove(self, rows: Collection[dict[str, Any]]) -> None:
        """Forget rows that the store now has."""
        with self._lock:
            for row in rows:
                self._forget((row["chain_id"], row["stage"]), row["request_id"])

    def _packed(self) -> Iterator[bytes]:
        for stage in self._stages.values():
            yield from stage.values()

    def _row(self, packed: bytes) -> dict[str, Any]:
        bare = dict(zip(REMEMBERED_COLUMNS, json.loads(packed), strict=True))
        return self._whole.get(bare["request_id"], bare)

    def _forget_oldest(self) -> None:
        stage, taken = next(iter(self._stages.items()))
        self._forget(stage, next(iter(taken)))

    def _forget(self, stage: tuple[str, int], request_id: str) -> None:
        taken = self._stages.get(stage, {})
        if (packed := taken.pop(request_id, None)) is not None:
            self._bytes -= len(packed) + ENTRY_OVERHEAD
            self._whole.pop(request_id, None)
        if not taken:
            self._stages.pop(stage, None)
