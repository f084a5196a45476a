"""Selection: the deliveries that a command works on, chosen by ids, filters or a file."""

from __future__ import annotations

import sys
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import IO, Final

from activities import strict_json
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.deliveries.delivery import Delivery, NotADelivery, read_document
from receiver.deliveries.filters import ANY, Filters

LARGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes of a line, or of a JSON document of several lines; longer ones are read in parts. A delivery has two MiB."""

JSON_STARTS: Final = (b"{", b"[")
"""The first byte of a JSON object or list."""


def refuse_both(ids: Sequence[str], filters: Filters) -> None:
    """Raise `CommandError` if both ids and filters are given: which of them was meant is unknown."""
    if ids and filters != ANY:
        raise CommandError("IDs and filters each say which deliveries", "give IDs, or filters", Exit.USAGE)


def read_file(name: str) -> Iterator[Delivery]:
    """Yield the deliveries in an export or a JSON file; raises `CommandError` at the first invalid line."""
    for number, document in documents(name):
        if not document.strip():
            continue
        try:
            yield from read_document(document)
        except NotADelivery as error:
            what = f"line {number} of {_shown(name)} is not a delivery: {error}"
            raise CommandError(what, "give it what `stagehook delivery export` has written") from error


def choose_from_file(name: str, filters: Filters) -> list[Delivery]:
    """Return the deliveries that the filters select in a file, with their requests, as `Archive.with_requests` does.

    Raises `CommandError` like `read_file`.
    """
    every = list(read_file(name))
    chosen = [one for one in every if filters.matches(one)]
    requested = {one.id for one in chosen} | {one.part_of for one in chosen if one.part}
    wholes = {one.id for one in chosen if one.is_at_one_url}
    return [one for one in every if one.id in requested or one.part_of in wholes]


def documents(name: str) -> Iterator[tuple[int, bytes]]:
    """Yield each line of a file, or a whole JSON document of several lines, with the number of its first line."""
    lines = numbered_lines(name)
    number, first = next(((number, line) for number, line in lines if line.strip()), (0, b""))
    taken = [(number, first)] if first else []
    if first.lstrip().startswith(JSON_STARTS) and not is_json(first):
        size = 0
        for line in lines:
            taken.append(line)
            size += len(line[1])
            if size > LARGEST_LINE:
                break
        else:
            whole = b"".join(line for _, line in taken)
            taken = [(number, whole)] if is_json(whole) else taken
    yield from chain(taken, lines)


def is_json(text: bytes) -> bool:
    """Whether the text is a JSON object or list."""
    if not text.lstrip().startswith(JSON_STARTS):
        return False
    try:
        strict_json.loads(text)
    except strict_json.NotStrictJSON:
        return False
    return True


def numbered_lines(name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, or of stdin for `-`, with their numbers and without a byte order mark.

    Raises `CommandError` for a file that cannot be read.
    """
    number = 1
    try:
        with _opened(name) as file:
            for part in iter(lambda: file.readline(LARGEST_LINE), b""):
                yield number, part.removeprefix(BOM_UTF8) if number == 1 else part
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
