"""What commands share: JSON for programs, lines for people, options, and one way to run and end a coroutine.

Every command imports this before it is known what is run: what is heavy is imported inside functions.
"""

from __future__ import annotations

import codecs
import json
import math
import signal
import sys
from collections.abc import Callable, Coroutine, Sized
from dataclasses import asdict, is_dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import click

from activities import strict_json
from receiver.cli.errors import CommandError, Exit
from receiver.cli.terminal import escaped, escaped_json

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_ARGUMENT: Final = 64 * 1024
"""Bytes that an argument has on stdin."""


class NumberRange(click.FloatRange):
    """A number within bounds. click's own range lets nan through, for no comparison is true of it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; fails as a click type does."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("nan is not a number", param, ctx)
        return number


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def counted(things: Sized | int, one: str, several: str = "") -> str:
    """`1 run`, `2 runs`; several: the plural that is not made with an s."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {one if number == 1 else several or one + 's'}"


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON document to stdout."""
    # What another encoding lacks would be written as no JSON has it.
    in_ascii = codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8"
    say(escaped_json(json.dumps(value, default=_encode, indent=indent, ensure_ascii=in_ascii)))


def say(text: str) -> None:
    """Text to stdout, with a line feed."""
    # The streams escape too; but rich's live table takes them over, and understands escapes.
    click.echo(escaped(text))


def note(text: str) -> None:
    """A line for people, to stderr."""
    click.echo(escaped(text), err=True)


def confirm() -> None:
    """Ask on the terminal whether to go on; anything but yes ends the command before it has sent anything."""
    # asyncio's way to take Ctrl-C is to cancel the task that waits for the answer here: it would go unheard.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        agreed = click.confirm("Go on?", err=True)
    except click.Abort:
        note("")  # the question's line is still open
        agreed = False
    finally:
        signal.signal(signal.SIGINT, handler)
    if not agreed:
        note("nothing was sent")
        raise click.Abort


def read_json_object(option: str, given: str) -> dict[str, Any]:
    """A JSON object from the command line, from `@FILE`, or from stdin for `-`; anything else is a usage error."""
    try:
        text = sys.stdin.buffer.read() if given == "-" else given.encode()
        if given.startswith("@"):
            text = Path(given[1:]).read_bytes()
        value = strict_json.loads(text)
    except OSError as error:
        raise click.BadParameter(f"{option} {given}: {error.strerror}") from error
    except strict_json.NotStrictJSON as error:
        raise click.BadParameter(f"{option} is not a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise click.BadParameter(f"{option} is not a JSON object")
    return value


def read_argument(given: str, what: str) -> str:
    """An argument, or for `-` what stdin holds, in one line: everybody on the machine sees a process's arguments."""
    if given != "-":
        return given
    if sys.stdin.isatty():
        note(f"type or paste the {what}, and end with Ctrl-D")
    text = sys.stdin.buffer.read(LONGEST_ARGUMENT).decode("utf-8", "replace").strip()
    if not text or len(text.split()) > 1:
        raise CommandError(
            f"stdin does not hold one {what}", f"pipe the {what} in, or give it as the argument", Exit.USAGE
        )
    return text


def cancel_on_signals() -> None:
    """Let a `kill` or a closed terminal end the current task as Ctrl-C does; under `nohup` the latter does not."""
    import asyncio

    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, lambda: task.cancel() if task else None)


def run_async(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a plain function, as click wants it, of a coroutine function."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        import asyncio

        return asyncio.run(function(*args, **kwargs))

    return run


def _encode(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")
