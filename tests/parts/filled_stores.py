"""A store with deliveries of several runs and partners, and commands on it."""

from __future__ import annotations

import time

import pytest

from activities.store.database import Database
from receiver.deliveries.archive import Added, Archive
from tests.commands import Done, command
from tests.parts.deliveries import delivery
from tests.stores import url_of

SECRET = "a-secret-of-some-length"


KEYS = "0123456789abcdefghijklmnopqrstuvwxyz"


def on(database: Database, *args: str, given: bytes = b"", **env: str) -> Done:
    return command(*args, given=given, DATABASE_URL=url_of(database), **env)


@pytest.fixture
def filled(database: Database) -> Database:
    now = time.time()
    made = [
        delivery(
            f"chain-{n}",
            workflow_id=f"run-{n}",
            received_at=now - 3600 * n,
            stage=n + 1,
            partner=("bank", "esign")[n % 2],
            pipeline=("onboarding", "refund")[n % 2],
            verdict=("accepted", "unproven")[n % 2],
            client="192.0.2.1",
        )
        for n in range(4)
    ]
    assert Archive(database).add(made) == Added(4, 0, [])
    assert Archive(database).add(made) == Added(0, 4, [])
    return database
