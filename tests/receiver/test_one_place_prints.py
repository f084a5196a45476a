"""Only the module for output prints, and a few named places."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CODE = Path(__file__).parents[2] / "receiver" / "cli"


PRINTING = {
    "print",
    "echo",
    "secho",
    "Console",
    "confirm",
    "prompt",
    "write",
    "buffer",
    "print_exc",
    "Progress",
    "Live",
}
OWN = {"confirm"}
"""Functions of output.py."""

ALLOWED = {
    ("output.py", "echo"),
    ("output.py", "confirm"),
    ("output.py", "prompt"),
    ("tables.py", "Live"),
    ("tables.py", "Progress"),
    ("__init__.py", "print_exc"),
    ("terminal.py", "write"),
    ("terminal.py", "buffer"),
}


@pytest.mark.parametrize("file", sorted(CODE.rglob("*.py")), ids=lambda file: str(file.relative_to(CODE)))
def test_one_place_prints(file: Path) -> None:
    """Everything else goes through `say`, `note`, `print_json`, `print_list` and `console`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            of = ast.unparse(node.func)
            if name in PRINTING and of not in OWN and of.partition(".")[0] in {name, "click", "sys", "traceback"}:
                found.add((str(file.relative_to(CODE)), name))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.stdout.buffer":
            found.add((str(file.relative_to(CODE)), "buffer"))
    assert found - ALLOWED == set()
