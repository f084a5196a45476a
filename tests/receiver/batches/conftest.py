"""A receiver whose partner sends several events in a request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from activities.store.database import Database
from tests.parts.flawed_events import SPLITTING
from tests.parts.webhooks import (
    Listening,
    partner,
    receiving,
)


@pytest.fixture
def temporal() -> Listening:
    return Listening()


@pytest.fixture
async def http(database: Database, temporal: Listening) -> AsyncIterator[httpx.AsyncClient]:
    async with receiving(database, temporal, partner(**SPLITTING)) as http:
        yield http
