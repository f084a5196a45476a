"""A fault that is done to a system, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from tests.chaos.system import System

FIRES_WITHIN: Final = 60.0
"""Seconds in which a fault must fire that waits for traffic."""

FIRST_TASK: Final = 4
"""The event with which a run's first workflow task completes."""

Fault = Callable[[System, str], AbstractAsyncContextManager[None]]
