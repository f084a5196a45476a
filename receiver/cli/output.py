"""Helpers that commands share: JSON for programs, lines for people, options, and running a coroutine.

Every command's module imports this one, whichever command runs. So heavy modules are imported inside functions.
"""

from __future__ import annotations

import codecs
import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence, Sized
from dataclasses import asdict, is_dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import click

from receiver.cli.errors import CommandError, Exit
from receiver.cli.terminal import escaped, escaped_json, printable

P = ParamSpec("P")
T = TypeVar("T")

ANSWER_TIMEOUT: Final = 10.0
"""Seconds that a command waits for a receiver's answer."""

LONGEST_ARGUMENT: Final = 64 * 1024
"""Bytes that are read from stdin for an argument."""


class NumberRange(click.FloatRange):
    """A number within bounds. click's own range accepts nan, because every comparison with nan is false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; fails as a click type does."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("nan is not a number", param, ctx)
        return number


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask whether to go on.")


def counted(things: Sized | int, one: str, several: str = "") -> str:
    """Return `1 run` or `2 runs`. several: the plural, if it is not the singular with an s."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {one if number == 1 else several or one + 's'}"


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a JSON document to stdout."""
    # In another encoding, missing characters would be written as `\x..`, which is not JSON.
    in_ascii = codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8"
    say(escaped_json(json.dumps(value, default=_encode, indent=indent, ensure_ascii=in_ascii)))


def say(text: str) -> None:
    """Print text to stdout, with a line feed."""
    # The streams escape too, but rich's live table replaces them and interprets escape sequences.
    click.echo(escaped(text))


def note(text: str) -> None:
    """Print a line for people to stderr."""
    click.echo(escaped(text), err=True)


def confirm(declined: str = "nothing was sent") -> None:
    """Ask on the terminal whether to go on; any answer but yes ends the command. declined: what is said then."""
    # On Ctrl-C, asyncio cancels the task. But the task is blocked here until the answer comes, so nothing would happen.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        agreed = click.confirm("Go on?", err=True)
    except click.Abort:
        note("")  # the question's line is still open
        agreed = False
    finally:
        signal.signal(signal.SIGINT, handler)
    if not agreed:
        note(declined)
        raise click.Abort


def confirm_first(*what: str, declined: str = "nothing was sent") -> None:
    """Print the lines, what is to be done, and ask whether to go on; see `confirm`.

    Raises `CommandError` if stdin is not a terminal.
    """
    if not sys.stdin.isatty():
        what_not = f"stdin is not a terminal, so it cannot be confirmed: {'; '.join(what)}"
        raise CommandError(what_not, "say --yes", Exit.USAGE)
    for line in what:
        note(printable(line))
    confirm(declined)


def choose(what: str, choices: Sequence[str]) -> str:
    """Ask on the terminal for one of the choices; an empty answer is the first of them."""
    chosen: str = click.prompt(what, default=choices[0], type=click.Choice(choices), err=True)
    return chosen


def read_content(option: str, given: str) -> bytes:
    """Return the bytes that the command line gives: its text, `@FILE`, or stdin for `-`; raises a usage error."""
    try:
        if given.startswith("@"):
            return Path(given[1:]).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "invalid name of a file"
        raise click.BadParameter(f"{option} {given}: {why}") from error
    return sys.stdin.buffer.read() if given == "-" else given.encode("utf-8", "surrogateescape")


def read_json_object(option: str, given: str) -> dict[str, Any]:
    """Read a JSON object from the command line, `@FILE`, or stdin for `-`; raises a usage error for anything else."""
    from activities import strict_json

    try:
        value = strict_json.loads(read_content(option, given))
    except strict_json.NotStrictJSON as error:
        raise click.BadParameter(f"{option} is not a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise click.BadParameter(f"{option} is not a JSON object")
    return value


def read_argument(given: str, what: str) -> str:
    """Return the argument, or for `-` a single word read from stdin. All users of the machine see command arguments.

    Raises `CommandError` if stdin is empty or has several words.
    """
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
    """Let SIGTERM and SIGHUP (a closed terminal) end the current task as Ctrl-C does; `nohup` still ignores SIGHUP."""
    import asyncio

    task = asyncio.current_task()
    on_signals(lambda: task.cancel() if task else None, signal.SIGTERM, signal.SIGHUP)


def on_signals(handler: Callable[[], object], *numbers: signal.Signals) -> None:
    """Call the handler in the running loop on these signals, except those that this process ignores.

    Does nothing outside the main thread, which alone gets signals.
    """
    import asyncio

    if threading.current_thread() is not threading.main_thread():
        return
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, handler)


def run_async(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Turn a coroutine function into a plain function, which click needs."""

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
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
