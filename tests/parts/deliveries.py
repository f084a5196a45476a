"""Deliveries for tests, and how to keep them in an inbox."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.deliveries.delivery import Delivery, digest, new_id
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.judging import How
from receiver.deliveries.queue import Queued
from workflows.contract import Answer, Callback


def delivery(chain: str = "chain-1", **changes: Any) -> Delivery:
    at = time.time()
    id_ = new_id(at)
    body = b"\x00\xff\xfe of " + id_.encode()
    plain = Delivery(
        id=id_,
        received_at=at,
        method="POST",
        target="/callbacks/{run/1/1}",
        headers=(("X-Twice", "1"), ("X-Twice", "2")),
        body=body,
        body_size=len(body),
        body_digest=digest(body),
        partner="bank",
        workflow_id="run",
        chain_id=chain,
        stage=1,
        attempt=1,
        issued_at=1,
        expires_at=2,
        says="succeeded",
        verdict="accepted",
        status=202,
    )
    return replace(plain, **changes)


def waiting_delivery(**changes: Any) -> Delivery:
    """A delivery whose call is not known yet."""
    no_call = {"workflow_id": "", "stage": 0, "attempt": 0, "issued_at": 0, "expires_at": 0}
    of_wait = {"verdict": "unmatched", "reference": "ref-1", "target": "/partners/bank"}
    return delivery("", **{**no_call, **of_wait, **changes})


def match_call(database: Database, one: Delivery, **changes: Any) -> None:
    """Record the call that the delivery has waited for, as a receiver does."""
    call = {"workflow_id": "run", "chain_id": "chain-1", "stage": 1, "attempt": 1, "issued_at": 1, "expires_at": 2}
    values = {**call, "verdict": "accepted", "fate": "pending", **changes}
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).where(DELIVERIES.c.id == one.id).values(values))


async def keep(inbox: Inbox, one: Delivery, request_id: str, *, lease: bool = True) -> How:
    return (await inbox.keep(one, queued(one, request_id), lease=lease)).how


def queued(one: Delivery, request_id: str) -> Queued:
    assert one.claims is not None
    callback = Callback(Answer("succeeded", {"body": one.body_digest}), one.chain_id, one.attempt, one.issued_at)
    return Queued(one.id, one.claims, json.dumps(asdict(callback)), request_id)
