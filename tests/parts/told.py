"""Run `stagehook` in this process against the Temporal server of a test."""

from __future__ import annotations

import asyncio

from temporalio.testing import WorkflowEnvironment

from tests.commands import Done, command


async def told(env: WorkflowEnvironment, *words: str, given: bytes = b"", **variables: str) -> Done:
    """Run the command in a thread, beside the test's worker."""
    address, namespace = env.client.service_client.config.target_host, env.client.namespace
    where = {"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": namespace}
    return await asyncio.to_thread(command, *words, given=given, **where, **variables)
