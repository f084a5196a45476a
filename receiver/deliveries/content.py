"""Content: what makes two deliveries the same callback.

A partner that repeats a result may write it in other bytes, with a retry counter, a new time stamp or another order of
keys. Two settling callbacks of one call are the same if the partner's file reads the same status, data, code and
message from both. Example: `{"retryCount": 0, "status": "done"}` and `{"status": "done", "retryCount": 1}` are one
callback for a file that reads only the status.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from temporalio.converter import value_to_type

from activities.callback_urls import Claims
from workflows.contract import Answer, Callback


def said_digest(answer: Answer) -> str:
    """SHA-256 (hex) of what the answer says: the same for any order of keys, and for 1 and 1.0."""
    plain = json.dumps(asdict(answer))
    said = json.dumps(json.loads(plain, parse_float=_number), sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def said_in(callback: str | None) -> str:
    """The `said_digest` of a signal's argument as JSON; "" if it cannot be read."""
    try:
        kept: Callback = value_to_type(Callback, json.loads(callback or ""))
        return said_digest(kept.answer)
    except Exception:  # it may have been kept by any version, for any partner's file
        return ""


def request_id(claims: Claims, said: str, signed_id: str = "") -> str:
    """The id by which Temporal and the store know a repeated callback: the same for the same content of one call.

    said: see `said_digest`. signed_id: the partner's own id of the delivery, only if a body signature covers it. What
    it says counts as well: a partner that gives its progress and its result one id must not lose the result.
    """
    # After a reset a stage is called again as the same attempt; issued_at tells the two calls apart.
    key = f"{claims.chain_id}/{claims.stage}/{claims.attempt}/{claims.issued_at}/{signed_id}/{said}"
    return hashlib.sha256(key.encode()).hexdigest()


def earlier_request_id(claims: Claims, body: bytes, answer: Answer, signed_id: str = "") -> str:
    """The request id that earlier versions made of the same delivery: without a signed id, of its very bytes.

    They have kept and signalled callbacks under it. A partner's retry after the deploy gets its first answer by it.
    """
    said = json.dumps(asdict(answer), sort_keys=True).encode() if signed_id else body
    return request_id(claims, hashlib.sha256(said).hexdigest(), signed_id)


def _number(digits: str) -> Any:
    number = float(digits)
    return int(number) if number.is_integer() else number
