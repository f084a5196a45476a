"""Signal: a partner's answer on its way to the run, and the text in which the store keeps it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from typing import Any, Self

from temporalio.converter import value_to_type

from activities.callback_urls import Claims
from activities.partners.answers import checked
from receiver.deliveries.content import earlier_request_id, request_id, said_digest
from workflows.contract import Answer, Callback


@dataclass(frozen=True)
class Signal:
    """A callback for the run and the stage that the claims name.

    request_id: the id by which Temporal and the store recognize a repeat; see `content.request_id`.
    earlier_id: the request id that an earlier version would have given the callback, if it differs; else "".
    """

    claims: Claims
    callback: Callback
    request_id: str
    earlier_id: str = ""

    @classmethod
    def of(cls, claims: Claims, answer: Answer, body: bytes, signed_id: str = "", *, part: int = 0) -> Self:
        """The signal for an answer that was read in `body`. signed_id: see `content.request_id`.

        part: the event's place in a request that carries several, from 1, or 0. Two identical reports of progress in
        one request are two events.
        The request id of `progress` and `ask` without a signed id is random: two identical ones are two events.
        """
        callback = Callback(answer, claims.chain_id, claims.attempt, claims.issued_at)
        if part and signed_id and not answer.settles:
            signed_id = f"{signed_id}/{part}"
        if not (answer.settles or signed_id):
            return cls(claims, callback, uuid.uuid4().hex)
        earlier_id = earlier_request_id(claims, body, answer, signed_id)
        return cls(claims, callback, request_id(claims, said_digest(answer), signed_id), earlier_id)

    @property
    def text(self) -> str:
        """The callback as JSON, for the store."""
        return json.dumps(plain_callback(self.callback))


def plain_callback(callback: Callback) -> dict[str, Any]:
    """The callback as a JSON object: what `asdict` makes of it, without a copy of its data."""
    return {**vars(callback), "answer": vars(callback.answer)}


def read_kept_callback(text: str) -> Callback:
    """Read the callback of a kept delivery. Raises any exception for invalid text.

    The answer is checked again: earlier versions kept it unchecked.
    """
    callback: Callback = value_to_type(Callback, json.loads(text))
    return replace(callback, answer=checked(callback.answer))
