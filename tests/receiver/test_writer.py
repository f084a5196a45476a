"""The writer's thread, below the inbox."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.engine.interfaces import DBAPICursor

from activities.store.database import Database
from activities.store.errors import StoreAway
from receiver.deliveries.statements import Statements
from receiver.deliveries.writer import Writer
from tests.parts.hanging import Hanging


async def test_what_was_given_up_costs_no_transaction(database: Database) -> None:
    """While the store hangs, many requests give up: when it is back, they must not delay the others."""
    transactions: list[None] = []
    statements = Statements(database)

    def begin(cursor: DBAPICursor) -> None:
        transactions.append(None)
        statements.begin(cursor)

    writer, hanging = Writer(database, begin), Hanging()
    async with writer.running():
        first = asyncio.create_task(writer.do(hanging, within=None))
        await hanging.begun.wait()
        with pytest.raises(StoreAway):
            await writer.do(lambda cursor: pytest.fail("it was given up"), within=0.01)
        hanging.release()
        await first
    assert len(transactions) == 1
