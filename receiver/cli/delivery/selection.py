"""Which deliveries a command is about: ids, filters, or a file; the same for every command that takes them."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import click

from activities import strict_json
from activities.environment import is_text
from receiver.answers import Verdict
from receiver.cli.db import read_age
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.cli.signature.captured import BOM
from receiver.deliveries.archive import ANY, Filters
from receiver.deliveries.delivery import Delivery, NotADelivery, read_document

T = TypeVar("T")

LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a line, and of a JSON document of several lines; what is longer is read in parts. A delivery has two MiB."""

JSON: Final = (b"{", b"[")
"""How a JSON object or list begins."""

OPTIONS = (
    click.option(
        "--verdict",
        type=click.Choice([verdict.name.lower() for verdict in Verdict]),
        metavar="VERDICT",
        help="accepted, duplicate, conflict, gone, unproven, unreadable, ...",
    ),
    click.option("--partner", default="", help="Of this partner."),
    click.option("--pipeline", default="", help="Of runs of this pipeline."),
    click.option("--fate", type=click.Choice(["pending", "taken", "refused", "parked"]), help="What became of it."),
    click.option(
        "--since", default="", metavar="TIME", help="Received at or after: 2h for two hours ago, or ISO 8601."
    ),
    click.option("--until", default="", metavar="TIME", help="Received before."),
)


def filter_options(run_by: str = "--") -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command the filters, as one argument `filters`.

    run_by: how the options for run and stage begin, where `--workflow` and `--stage` mean something else.
    """
    # The longer names are understood everywhere.
    workflow, stage = ({f"{begin}{name}" for begin in (run_by, "--of-")} for name in ("workflow", "stage"))
    of_run = (
        click.option(*sorted(workflow), "of_workflow", default="", metavar="ID", help="Of this run."),
        click.option(*sorted(stage), "of_stage", type=click.IntRange(1, 1000), help="Of this stage."),
    )

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        @wraps(command)
        def run(*args: Any, since: str, until: str, of_workflow: str, of_stage: int | None, **others: Any) -> T:
            names = ("verdict", "partner", "pipeline", "fate")
            texts = {name: others.pop(name) or "" for name in names}
            for given in (*texts.values(), of_workflow):
                if not is_text(given):
                    raise click.UsageError(f"{given!r} is not UTF-8")
            filters = Filters(
                **texts,
                workflow=of_workflow,
                stage=of_stage or 0,
                since=_moment("--since", since) if since else 0.0,
                until=_moment("--until", until) if until else math.inf,
            )
            return command(*args, filters=filters, **others)

        for option in reversed((*OPTIONS, *of_run)):
            run = option(run)
        return run

    return decorate


def refuse_both(ids: Sequence[str], filters: Filters) -> None:
    """Raise `CommandError` where both say which deliveries: nobody can tell which of them was meant."""
    if ids and filters != ANY:
        raise CommandError("IDs and filters each say which deliveries", "give IDs, or filters", Exit.USAGE)


def read_file(name: str) -> Iterator[Delivery]:
    """The deliveries of an export, or of a JSON file; raises `CommandError` for the first line that is none."""
    for number, document in documents(name):
        if not document.strip():
            continue
        try:
            yield from read_document(document)
        except NotADelivery as error:
            what = f"line {number} of {_shown(name)} is no delivery: {error}"
            raise CommandError(what, "give it what `stagehook delivery export` has written") from error


def documents(name: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, or all of it if it is one JSON document of several; with the number of its first line."""
    lines = numbered_lines(name)
    number, first = next(((number, line) for number, line in lines if line.strip()), (0, b""))
    taken = [(number, first)] if first else []
    if first.lstrip().startswith(JSON) and not is_json(first):
        size = 0
        for line in lines:
            taken.append(line)
            size += len(line[1])
            if size > LARGEST:
                break
        else:
            whole = b"".join(line for _, line in taken)
            taken = [(number, whole)] if is_json(whole) else taken
    yield from chain(taken, lines)


def is_json(text: bytes) -> bool:
    """Whether it is a JSON object or list."""
    if not text.lstrip().startswith(JSON):
        return False
    try:
        strict_json.loads(text)
    except strict_json.NotStrictJSON:
        return False
    return True


def numbered_lines(name: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, or of stdin for `-`, without a byte order mark; raises `CommandError`."""
    number = 1
    try:
        with _opened(name) as file:
            for part in iter(lambda: file.readline(LARGEST), b""):
                yield number, part.removeprefix(BOM) if number == 1 else part
                number += part.endswith(b"\n")
    except OSError as error:
        what = f"{_shown(name)} cannot be read: {error.strerror}"
        raise CommandError(what, "check the file's name", Exit.USAGE) from error


def _opened(name: str) -> AbstractContextManager[IO[bytes]]:
    if name != "-":
        return Path(name).open("rb")
    if sys.stdin is None:
        raise CommandError("stdin is closed", "give a file, or something on stdin", Exit.USAGE)
    if sys.stdin.isatty():
        note("reading from the terminal; end with Ctrl-D, or give a file")
    return nullcontext(sys.stdin.buffer)


def _shown(name: str) -> str:
    return "stdin" if name == "-" else repr(name)


def _moment(option: str, text: str) -> float:
    """Unix seconds of `2h` (ago) or of an ISO 8601 time, which is UTC unless it says otherwise."""
    if re.fullmatch(r"[0-9]+[smhdw]", text):
        return time.time() - read_age(text)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"invalid {option} {text!r}: use an age such as 2h, or a time such as 2026-01-31T12:00"
        ) from error
