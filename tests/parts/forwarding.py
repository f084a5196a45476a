"""Calls for deliveries to be forwarded, and a store that does not commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from activities.store.calls import CallOrigin, NotedCall
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.inbox import Inbox
from tests.support import SOON


def called(one: Delivery) -> NotedCall:
    """The record of the delivery's call."""
    assert one.claims is not None
    return NotedCall(one.claims, CallOrigin("onboarding", "0123456789ab", "key", "url"), called_at=1.0)


@contextmanager
def no_commit(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no commit that begins in this block end before the block does."""
    insert, go_on = inbox._statements.insert, threading.Event()

    def waiting(*args: Any) -> set[str]:
        go_on.wait(3 * SOON)
        return insert(*args)

    monkeypatch.setattr(inbox._statements, "insert", waiting)
    try:
        yield
    finally:
        go_on.set()
