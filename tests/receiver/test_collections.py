"""The garbage collector in the processes that an operator runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.parts.least_settings import LEAST_SETTINGS

WEB = """
import gc
from receiver.server import app_from_env
app_from_env()
print(gc.get_freeze_count())
"""
WORKER = """
import asyncio, gc
from receiver.cli.worker import running
async def run(settings, health):
    print(gc.get_freeze_count())
running._run = run
asyncio.run(running.run_until_stopped())
"""


@pytest.mark.parametrize("script", [WEB, WORKER], ids=["web", "worker"])
def test_what_is_loaded_is_left_out_of_collections(script: str) -> None:
    """A full collection stops every answer for as long as it takes."""
    environment = {**os.environ, **LEAST_SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    assert int(done.stdout.split()[-1]) > 50_000
