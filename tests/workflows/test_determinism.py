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
    "json",
    "math",
    "re",
    "temporalio",
    "temporalio.common",
    "temporalio.converter",
    "temporalio.exceptions",
    "typing",
}
"""Modules of the standard library and the SDK that do the same in every replay, apart from `ATTRIBUTES`."""

ATTRIBUTES: Final = {
    # the clock, in any module's spelling
    *("now", "utcnow", "today", "astimezone", "time_ns", "monotonic", "perf_counter"),
    # asyncio's threads, processes and sockets; what returns sets of tasks, in an order of its own
    *("to_thread", "run_in_executor", "create_subprocess_exec", "create_subprocess_shell"),
    *("open_connection", "start_server", "as_completed", "new_event_loop", "run"),
    "wait",
    # the workflow's own way around the sandbox
    *("unsafe", "imports_passed_through"),
}
NAMES: Final = {
    *("open", "input", "print", "exec", "eval", "__import__", "breakpoint", "id", "hash", "globals"),
    *("cache", "lru_cache"),  # they keep state
}

OURS: Final = {"run", "wait"}
"""Methods of our own classes that have the name of one of `ATTRIBUTES`."""


def flaws(code: str) -> Iterator[str]:
    """What a replay might not repeat, and what a run might leave behind for another."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"imports {name.name}" for name in names if name.name not in IMPORTED)
            case ast.ImportFrom(module=str(module)) if module not in IMPORTED and not module.startswith("workflows."):
                yield f"imports {module}"
            case ast.Attribute(value=ast.Name(id="asyncio" | "workflow" as of), attr=name) if name in ATTRIBUTES - (
                {"run"} if of == "workflow" else set()
            ):
                yield f"uses {of}.{name}"
            case ast.Attribute(attr=name) if name in ATTRIBUTES - OURS:
                yield f"uses .{name}"
            case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
                yield f"uses {name}"
            case ast.Global() | ast.Nonlocal():
                yield f"changes {', '.join(node.names)} of an outer scope"
    yield from _state_of(tree)


def _state_of(tree: ast.Module) -> Iterator[str]:
    """Names of a module that hold what can change, unless they are constants that nothing changes."""
    constants = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    yield from (f"has the variable {name}" for name in constants if not name.isupper() and name not in ALIASES)
    yield from (f"changes {name}" for node in ast.walk(tree) for name in _changed_by(node) if name in constants)


def _changed_by(node: ast.AST) -> Iterator[str]:
    match node:
        case (
            ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del())
            | ast.Attribute(value=ast.Name(id=name), ctx=ast.Store() | ast.Del())
        ):
            yield name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in CHANGING:
            yield name


CHANGING: Final = {"append", "extend", "add", "update", "pop", "clear", "setdefault", "remove", "insert"}
"""Methods that change a list, a dict or a set."""

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
