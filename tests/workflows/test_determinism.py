"""The modules that run outside the sandbox: what they do is the same in every replay, and they hold no state.

The sandbox checks this of a class of your own. Our modules are checked here instead, by their text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from temporalio import workflow
from temporalio.testing import WorkflowEnvironment

from activities.worker import AUDITED, WORKFLOWS
from tests.support import QUEUE, ScriptedPartner, stage, start, waiting, working
from tests.workflows.classes import SideBySide
from workflows.pipeline import PipelineWorkflow
from workflows.staged import StagedWorkflow

ROOT: Final = Path(__file__).parents[2]

IMPORTED: Final = {
    "__future__",
    "asyncio",
    "collections",
    "collections.abc",
    "contextlib",
    "dataclasses",
    "datetime",
    "difflib",
    "hashlib",
    "json",
    "math",
    "re",
    "temporalio",
    "temporalio.common",
    "temporalio.converter",
    "temporalio.exceptions",
    "temporalio.workflow",
    "typing",
}
"""Modules of the standard library and the SDK that do the same in every replay, apart from the names below."""

CLOCKS: Final = {"now", "utcnow", "today", "astimezone", "time_ns", "monotonic", "perf_counter"}
"""Methods that read the clock, or this machine's time zone."""

OF_ASYNCIO: Final = {
    *("to_thread", "run_in_executor", "create_subprocess_exec", "create_subprocess_shell"),
    *("open_connection", "start_server", "new_event_loop", "run"),
    *("wait", "as_completed"),  # the order of a set of tasks is not the same in every process
}
OF_WORKFLOW: Final = {"unsafe"}
BUILTINS: Final = {
    *("open", "input", "print", "exec", "eval", "__import__", "breakpoint", "id", "hash", "globals"),
    *("cache", "lru_cache"),  # they keep state
}
CHANGING: Final = {"append", "extend", "add", "update", "pop", "clear", "setdefault", "remove", "insert"}
"""Methods that change a list, a dict or a set."""


def flaws(code: str) -> Iterator[str]:
    """What a replay might not repeat, and what a run might leave behind for another."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        yield from imports(node)
        yield from uses(node)
    yield from variables(tree)
    own = set(bound(tree)) - {"workflow"}  # `workflow.update` is a decorator
    yield from (f"changes {name}" for node in ast.walk(tree) for name in changed_by(node) if name in own)


def imports(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (f"imports {name.name}" for name in names if name.name not in IMPORTED)
        case ast.ImportFrom(module=str(module), names=names):
            if module not in IMPORTED and not module.startswith("workflows."):
                yield f"imports {module}"
            refused = {"asyncio": OF_ASYNCIO, "temporalio.workflow": OF_WORKFLOW}.get(module, set())
            yield from (f"imports {module}.{name.name}" for name in names if name.name in refused)


def uses(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="workflow"), attr=name):  # the workflow's own clock is recorded
            yield from [f"uses workflow.{name}"] if name in OF_WORKFLOW else []
        case ast.Attribute(value=ast.Name(id="asyncio"), attr=name) if name in OF_ASYNCIO:
            yield f"uses asyncio.{name}"
        case ast.Attribute(attr=name) if name in CLOCKS:
            yield f"uses .{name}"
        case ast.Call(func=ast.Attribute(attr="fromtimestamp"), args=[_], keywords=[]):
            yield "uses fromtimestamp without a time zone"
        case ast.Name(id=name, ctx=ast.Load()) if name in BUILTINS:
            yield f"uses {name}"
        case ast.Global() | ast.Nonlocal():
            yield f"changes {', '.join(node.names)} of an outer scope"


def variables(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield from [] if name.isupper() or name in ALIASES else [f"has the variable {name}"]


def bound(tree: ast.Module) -> Iterator[str]:
    """The names of a module: its constants, classes and functions, and what it imports."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name for alias in names)
    yield "type"  # of an object: its class


def changed_by(node: ast.AST) -> Iterator[str]:
    """The names whose value this changes: an item, an attribute, or a list, a dict or a set."""
    match node:
        case (
            ast.Subscript(value=ast.Name(id=name) | ast.Attribute(value=ast.Name(id=name)), ctx=ast.Store() | ast.Del())
            | ast.Attribute(
                value=ast.Name(id=name) | ast.Call(func=ast.Name(id="type" as name)), ctx=ast.Store() | ast.Del()
            )
        ):
            yield name
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=name) | ast.Attribute(value=ast.Name(id=name)), attr=method)
        ) if method in CHANGING:
            yield name


ALIASES: Final = {"T", "Status", "Cause", "State", "Policy", "Action"}
"""Type variables, and literals of the contract."""


def code_of(module: str) -> str:
    return (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()


@pytest.mark.parametrize("module", sorted(AUDITED))
def test_our_workflow_modules_do_the_same_in_every_replay(module: str) -> None:
    assert list(flaws(code_of(module))) == []


@pytest.mark.parametrize(
    ("code", "flaw"),
    [
        ("import random", "imports random"),
        ("from time import time", "imports time"),
        ("def f():\n    import os", "imports os"),
        ("at = datetime.now(UTC)", "uses .now"),
        ("await asyncio.wait(tasks)", "uses asyncio.wait"),
        ("asyncio.run(main())", "uses asyncio.run"),
        ("open('x')", "uses open"),
        ("workflow.unsafe.imports_passed_through()", "uses workflow.unsafe"),
        ("count = 0", "has the variable count"),
        ("SEEN = {}\ndef f(x):\n    SEEN[x] = 1", "changes SEEN"),
        ("SEEN = []\ndef f(x):\n    SEEN.append(x)", "changes SEEN"),
        ("class A: ...\ndef f(a):\n    A.seen = a", "changes A"),
        ("class A:\n    seen = []\ndef f(a):\n    A.seen.append(a)", "changes A"),
        ("def f(a):\n    type(a).seen = a", "changes type"),
        ("from asyncio import wait", "imports asyncio.wait"),
        ("datetime.fromtimestamp(0.0)", "uses fromtimestamp without a time zone"),
        ("def f():\n    global x\n    x = 1", "changes x of an outer scope"),
        ("@cache\ndef f(): ...", "uses cache"),
    ],
)
def test_the_audit_finds(code: str, flaw: str) -> None:
    assert flaw in list(flaws(code))


def test_what_audited_modules_import_is_audited_too() -> None:
    """Otherwise a module would be there twice: as the sandbox imports it, and as ours have it."""
    imported = {
        str(node.module)
        for module in AUDITED
        for node in ast.walk(ast.parse(code_of(module)))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("workflows.")
    }
    assert imported - AUDITED == set()


def test_the_shipped_classes_are_audited() -> None:
    assert {shipped.__module__ for shipped in WORKFLOWS} <= AUDITED


async def test_only_audited_classes_run_outside_the_sandbox(
    skipping: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class of one's own is in the sandbox, and has the same base class: the sandbox does not import it again."""
    in_sandbox = {}
    show = StagedWorkflow._show

    def noting(run: StagedWorkflow) -> None:
        in_sandbox[workflow.info().workflow_type] = workflow.unsafe.in_sandbox()
        show(run)

    monkeypatch.setattr(StagedWorkflow, "_show", noting)
    async with working(skipping.client, ScriptedPartner(), [PipelineWorkflow, SideBySide]):
        await waiting(await start(skipping.client, stage(1)))
        await waiting(await skipping.client.start_workflow(SideBySide.__name__, id="beside", task_queue=QUEUE))
    assert in_sandbox == {"PipelineWorkflow": False, "SideBySide": True}
