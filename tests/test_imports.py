"""receiver -> activities -> workflows -> the standard library and temporalio: never back, never around."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED_OF_OURS = {
    "workflows": {"workflows"},
    "activities": {"activities", "workflows"},
    "receiver": {"receiver", "activities", "workflows"},
}
ROOMS = sorted(ALLOWED_OF_OURS)
UNREACHABLE_FROM_HISTORY = {"socket", "subprocess", "threading", "random", "secrets", "time", "os", "pathlib"}


def imported_by(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield node.module or ""


def imports_of(room: str) -> list[tuple[str, str]]:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    return [(str(file.relative_to(ROOT)), name) for file in files for name in imported_by(file)]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_inward_only(room: str) -> None:
    outward = [
        (file, name)
        for file, name in imports_of(room)
        if name.split(".")[0] in ALLOWED_OF_OURS and name.split(".")[0] not in ALLOWED_OF_OURS[room]
    ]
    assert outward == []


def test_workflows_import_only_the_standard_library_and_temporalio() -> None:
    foreign = [
        (file, name)
        for file, name in imports_of("workflows")
        if name.split(".")[0] not in {*sys.stdlib_module_names, "temporalio", "workflows"}
    ]
    assert foreign == []


def test_workflows_reach_no_clock_network_or_chance() -> None:
    reaching = [
        (file, name) for file, name in imports_of("workflows") if name.split(".")[0] in UNREACHABLE_FROM_HISTORY
    ]
    assert reaching == []


def test_nothing_imports_tests() -> None:
    assert [found for room in ROOMS for found in imports_of(room) if found[1].split(".")[0] == "tests"] == []


def test_there_is_no_fourth_code_package() -> None:
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert packages - {"tests", "benchmarks"} == set(ROOMS)
