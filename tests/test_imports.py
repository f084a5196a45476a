"""receiver -> activities -> workflows -> the standard library and temporalio: never back, never around."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
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


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported_by(file: Path) -> Iterator[str]:
    for node in ast.walk(parsed(file)):
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


def test_workflows_import_only_stdlib_and_temporalio() -> None:
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


OF_TEST_MODULE = re.compile(r"\btests(\.\w+)*\.test_")
TEST_MODULES = sorted((ROOT / "tests").rglob("test_*.py"))


def test_no_test_module_imports_another() -> None:
    """What several of them need is in `tests/parts`, which imports none of them either."""
    importing = [
        (str(file.relative_to(ROOT)), name)
        for file in sorted((ROOT / "tests").rglob("*.py"))
        if OF_TEST_MODULE.search(file.read_text())  # to parse them all takes seconds
        for name in imported_by(file)
        if name.split(".")[0] == "tests" and any(part.startswith("test_") for part in name.split("."))
    ]
    assert importing == []


def test_names_of_tests_have_at_most_60_characters() -> None:
    names = {
        name for file in TEST_MODULES for name in re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(), re.M)
    }
    assert len(names) > 1000
    assert [name for name in names if len(name) > 60] == []


OF_EVERY_MODULE = {
    *("T", "P", "logger"),  # type variables, and the module's logger
    *("revision", "down_revision"),  # of migrations, in Alembic's words
}


def defined(file: Path) -> Iterator[str]:
    """Classes, public functions and constants of a module. A command has its word's name, and may call its namesake."""
    for node in parsed(file).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.FunctionDef(name=name, decorator_list=[]) | ast.AsyncFunctionDef(name=name, decorator_list=[]):
                if not name.startswith("_"):
                    yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def test_each_name_is_one_thing() -> None:
    modules = defaultdict(list)
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            names = set(defined(file))
            if "partner" not in names and not {"migrations", "sample"} & set(file.parts):  # partners' files are alike
                for name in names:
                    modules[name].append(str(file.relative_to(ROOT)))
    assert {name: places for name, places in modules.items() if len(places) > 1 and name not in OF_EVERY_MODULE} == {}
