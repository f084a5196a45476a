"""Patience of commands that run in the test's process: on a busy machine a worker may answer late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from unittest.mock import patch

import pytest

BOUNDS = {
    "activities.runs.WORKER_ANSWERS_WITHIN": timedelta(seconds=3 * 5),
    "receiver.replay.aims.STAGE_OPENS_WITHIN": 3 * 10.0,
    "receiver.replay.stand_ins.TAKEN_WITHIN": 3 * 10.0,
}
"""Three times what commands promise. A test without a worker sets a short one of its own."""

NO_WORKER = timedelta(seconds=1)
"""For such a test."""


@pytest.fixture(scope="session", autouse=True)
def patient_commands() -> Iterator[None]:
    with ExitStack() as patched:
        for name, bound in BOUNDS.items():
            patched.enter_context(patch(name, bound))
        yield
