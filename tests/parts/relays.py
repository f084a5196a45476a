"""A relay (`stagehook delivery tail --replay-to`) without its command, and what it prints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from activities.callback_urls import CallbackURLs, Claims
from activities.partners.partner import Partner
from activities.store.database import Database
from receiver.cli.delivery.relaying import Relay, RelayOptions
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.filters import Filters
from receiver.replay.sending import Replay, Replayed, claims_of
from tests.parts.deliveries import delivery
from tests.parts.listeners import KEYS

OPTIONS = RelayOptions(Filters(), "", run="", store="", allow_remote=False, yes=False, as_json=True)


class Captured:
    """Aims at the captured runs, or at another run; may fail before. sent: what it was told of."""

    def __init__(self, *failures: Exception, run: str = "here") -> None:
        self.failures = list(failures)
        self.run = run
        self.sent: list[Replayed] = []

    async def claims(self, delivery: Delivery) -> Claims:
        if self.failures:
            raise self.failures.pop(0)
        return replace(claims_of(delivery), workflow_id=self.run, expires_at=2**35)

    async def note_sent(self, replayed: Sequence[Replayed]) -> None:
        self.sent += replayed


def captured(**changes: Any) -> Delivery:
    return delivery(headers=(("authorization", "a-secret"), ("x-kept", "yes")), **changes)


class Told:
    """What the relay printed: the ids that it sent with their answers, and its notes."""

    def __init__(self, out: str, err: str) -> None:
        lines = [json.loads(line) for line in out.splitlines()]
        self.lines = lines
        self.sent = [(line["id"], line["answered"]) for line in lines]
        self.notes = err.splitlines()


async def relayed(
    database: Database,
    to: str,
    pauses: Sequence[Callable[[], object]],
    aim: Captured | None = None,
    partners: Mapping[str, Partner] | None = None,
    **options: Any,
) -> Told:
    """What is printed, if this happens in the relay's pauses. partners: sign again; without them nothing is signed."""
    happening = iter(pauses)

    async def pause(_: float) -> None:
        try:
            next(happening)()
        except StopIteration:
            raise asyncio.CancelledError from None

    out, err = StringIO(), StringIO()
    given = replace(OPTIONS, to=to, **options)
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        replaying = Replay(http, CallbackURLs(to, [KEYS]), partners or {}, mode="resign" if partners else "verbatim")
        relay = Relay(Archive(database), given, replaying, aim or Captured())  # type: ignore[arg-type]
        with (
            patch("receiver.cli.delivery.relaying.asyncio.sleep", pause),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(asyncio.CancelledError),
        ):
            await relay.run()
    return Told(out.getvalue(), err.getvalue())
