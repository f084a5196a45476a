"""Content: what makes two deliveries the same callback.

A partner that repeats a result may write different bytes: a retry counter, a new time stamp or another order of keys.
Two settling callbacks of the same call are the same if the partner's file reads the same status, data, code and message
from both. Example: `{"retryCount": 0, "status": "done"}` and `{"status": "done", "retryCount": 1}` are the same
callback for a file that reads only the status.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from temporalio.converter import value_to_type

from activities.callback_urls import Claims
from workflows.contract import Answer, Callback


def said_digest(answer: Answer) -> str:
    """SHA-256 (hex) of what the answer says. It is the same for any order of keys, and for 1 and 1.0."""
    said = json.dumps(_with_whole_numbers(vars(answer)), sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def said_in(callback: str | None) -> str:
    """The `said_digest` of a signal's argument, given as JSON; "" if it cannot be read."""
    try:
        kept: Callback = value_to_type(Callback, json.loads(callback or ""))
        return said_digest(kept.answer)
    except Exception:  # any version may have written it, for any partner's file
        return ""


def request_id(claims: Claims, said: str, signed_id: str = "") -> str:
    """The id by which Temporal and the store recognize a repeated callback: equal for equal content of the same call.

    said: see `said_digest`. It is part of the id even with a signed id: a partner that uses the same id for its
    progress and its result must not lose the result.
    signed_id: the partner's id of the delivery, only if a body signature covers it.
    """
    # After a reset, a stage is called again with the same attempt number; issued_at distinguishes the two calls.
    key = f"{claims.chain_id}/{claims.stage}/{claims.attempt}/{claims.issued_at}/{signed_id}/{said}"
    return hashlib.sha256(key.encode()).hexdigest()


def earlier_request_id(claims: Claims, body: bytes, answer: Answer, signed_id: str = "") -> str:
    """The request id that earlier versions gave the same delivery; without a signed id it was made from the raw bytes.

    Earlier versions kept and signalled callbacks under it. With it, a partner's retry after an upgrade of the receiver
    gets the first answer again.
    """
    said = json.dumps(asdict(answer), sort_keys=True).encode() if signed_id else body
    return request_id(claims, hashlib.sha256(said).hexdigest(), signed_id)


def _with_whole_numbers(value: Any) -> Any:
    """The value with 1 in place of 1.0."""
    match value:
        case str():
            return value
        case float():
            return int(value) if value.is_integer() else value
        case Mapping():
            return {key: _with_whole_numbers(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_with_whole_numbers(inner) for inner in value]
    return value
