"""The contract's annotations as types: no conversion compiles them. Each process finds them once, at its start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.parts.least_settings import LEAST_SETTINGS

WEB = "from receiver.server import app_from_env; app_from_env()"
WORKER = "from activities.worker import workflow_runner; workflow_runner()"
SCRIPT = """
from dataclasses import is_dataclass
from typing import get_type_hints
from workflows import contract

classes = [value for value in vars(contract).values() if isinstance(value, type) and is_dataclass(value)]
before = {one: get_type_hints(one) for one in classes}
assert len(classes) > 10
assert all(isinstance(type_, str) for one in classes for type_ in vars(one)["__annotations__"].values())
{start}
assert {one: get_type_hints(one) for one in classes} == before
assert not [one for one in classes for type_ in vars(one)["__annotations__"].values() if isinstance(type_, str)]
"""


@pytest.mark.parametrize("start", [WEB, WORKER], ids=["web", "worker"])
def test_a_process_finds_the_contracts_types_at_its_start(start: str) -> None:
    """In a process of its own: this one may have found them."""
    script = SCRIPT.replace("{start}", start)
    environment = {**os.environ, **LEAST_SETTINGS}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
