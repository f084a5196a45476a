"""Unmatched: how an event is kept whose call is not known yet, and the signal that it becomes once it is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from receiver.deliveries.delivery import Delivery
from receiver.deliveries.matching import Matched
from receiver.deliveries.rows import to_row
from receiver.sending.signal import Signal, read_kept_callback
from workflows.contract import Answer, Callback


def unmatched_row(delivery: Delivery, answer: Answer) -> dict[str, Any]:
    """The row of a delivery that waits for its call. Its callback names no call yet."""
    return to_row(delivery) | {"callback": json.dumps(asdict(Callback(answer, chain_id="", attempt=0, issued_at=0)))}


def signal_of(matched: Matched) -> tuple[str, str]:
    """The request id of a matched delivery's signal, and its callback as JSON."""
    try:
        answer = read_kept_callback(matched.callback).answer
    except Exception:
        # The sender parks it. An error here would keep every other delivery from being matched and sent.
        return matched.id, matched.callback
    signal = Signal.of(matched.claims, answer, b"", matched.signed_id, part=matched.part)
    return signal.request_id, signal.text
