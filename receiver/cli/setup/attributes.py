"""Register the search attributes in the namespace of this environment's Temporal."""

from __future__ import annotations

import os

from activities.client import connect, reaching_temporal
from activities.finding import register_attributes
from activities.target import Target
from receiver.cli.output import note


async def register() -> None:
    """Register the missing attributes, and print them; raises what `register_attributes` does."""
    client = await connect(os.environ)
    async with reaching_temporal(Target.of_client(client)):
        added = await register_attributes(client)
    where = f"the namespace {client.namespace}"
    note(f"registered in {where}: {', '.join(added)}" if added else f"{where} has all search attributes")
