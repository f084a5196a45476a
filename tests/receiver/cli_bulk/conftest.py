"""A folder for state files, and a Temporal whose runs can be listed by partner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.finding import register_attributes
from activities.worker import WORKFLOWS
from tests.support import (
    ScriptedPartner,
    working,
)
from tests.workflows.classes import AtOnce


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State files go into the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
async def many(real: WorkflowEnvironment) -> WorkflowEnvironment:
    """The real server, with a namespace that has the search attributes."""
    await register_attributes(real.client)
    return real


@pytest.fixture
async def partner(many: WorkflowEnvironment) -> AsyncIterator[ScriptedPartner]:
    partner = ScriptedPartner()
    async with working(many.client, partner, [*WORKFLOWS, AtOnce]):
        yield partner
