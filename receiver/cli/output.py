"""What commands print: JSON for programs, tables for people, and one way to run a coroutine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict, is_dataclass
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click
from rich.console import Console

P = ParamSpec("P")
T = TypeVar("T")

WIDE = 200

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def console() -> Console:
    """stdout, for tables; made when it is used, so that it writes to what stdout is then."""
    # Where no terminal tells its width, a table is as wide as it needs to be.
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON document to stdout."""
    click.echo(json.dumps(value, default=_encode, indent=indent, ensure_ascii=False))


def note(text: str) -> None:
    """A line for people, to stderr."""
    click.echo(text, err=True)


def run_async(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a plain function, as click wants it, of a coroutine function."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run(function(*args, **kwargs))

    return run


def _encode(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")
