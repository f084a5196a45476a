"""A receiver whose partner names a stage by its own id for the work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from activities.store.database import Database
from tests.parts.webhooks import (
    Listening,
    receiving,
)


@pytest.fixture
def temporal() -> Listening:
    return Listening()


@pytest.fixture
async def http(database: Database, temporal: Listening) -> AsyncIterator[httpx.AsyncClient]:
    async with receiving(database, temporal) as http:
        yield http
