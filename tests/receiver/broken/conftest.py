"""The stores that a receiver may have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from activities.store.database import Database
from tests.stores import store_of


@pytest.fixture(params=["no store", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Database | None]:
    if request.param == "no store":
        yield None
    else:
        with store_of(request.param, request) as database:
            yield database
