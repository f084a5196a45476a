"""The state of a bulk command, a file of JSON Lines: what was asked, the listed runs, and each result as it comes.

    {"version": 1, "id": "5f2c...", "action": "skip", "reason": "...", "items": 2, ...}
    {"item": 1, "run": {"workflow_id": "first", "stages": [{"number": 2, "attempt": 1, ...}], ...}}
    {"item": 2, "run": {"workflow_id": "second", ...}}
    {"item": 1, "result": "done", "why": "skip, by ada", ...}

A process that is killed leaves the beginning of a line at the end; it is cut off when the file is opened again. A
result that was not written is found out by the id of the item's command, which acts once.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeVar, get_args

from activities import strict_json
from activities.choosing import ChosenRun
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import counted
from receiver.cli.pipeline.bulk import STAGE_ACTIONS, BulkAction
from workflows.reading import Broken, convert

T = TypeVar("T")

STATE_VERSION: Final = 1
LARGEST_STATE: Final = 256 * 1024 * 1024
"""Bytes. The largest plan, with ids of 1,000 bytes, has a tenth of it."""

STATE_ID: Final = re.compile(r"[0-9a-f]{1,64}")
"""An id of a state."""

ResultWord = Literal["done", "passed over", "failed", "unsure", "unreached"]
FINAL: Final = ("done", "passed over", "failed")
"""Results after which nothing is left to do for a run."""


@dataclass(frozen=True)
class BulkRequest:
    """What an operator asked for. filters: as typed. at: ISO 8601. items: the number of listed runs.

    id: is in the id of each command. duration: of `extend`, as typed. stage: of `resume`, 0 for the one that failed.
    """

    version: int
    id: str
    action: BulkAction
    reason: str
    actor: str
    filters: Mapping[str, Any]
    at: str
    address: str
    namespace: str
    items: int
    duration: str = ""
    stage: int = 0


@dataclass(frozen=True)
class BulkItem:
    """A listed run; for a command to a stage it has this stage alone. item: counts from 1."""

    item: int
    run: ChosenRun


@dataclass(frozen=True)
class BulkResult:
    """What became of an item. cause: why not done, the same words for all such runs. why: a sentence. at: ISO 8601."""

    item: int
    result: ResultWord
    cause: str
    why: str
    at: str


@dataclass(frozen=True)
class BulkState:
    """What a state file holds. results: the latest of each item. size: bytes up to the last whole line."""

    request: BulkRequest
    items: Sequence[BulkItem]
    results: Mapping[int, BulkResult]
    size: int

    @property
    def left(self) -> Sequence[BulkItem]:
        """The items without a final result."""
        return [one for one in self.items if not (done := self.results.get(one.item)) or done.result not in FINAL]


class StateFile:
    """A state file that this process alone writes to. Close it at the end."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self._stream = stream
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            raise CommandError(f"another process works with {path}", "wait for it, or stop it", Exit.USAGE) from None

    @classmethod
    def create(cls, path: Path, request: BulkRequest, items: Sequence[BulkItem]) -> StateFile:
        """Write what is asked and planned to a new file, which its owner alone can read. Raises `CommandError`."""
        try:
            stream = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b")  # noqa: SIM115
        except FileExistsError:
            raise _there_already(path) from None
        except (OSError, ValueError) as error:
            raise _unusable(path, "cannot be made", error) from error
        made = cls(path, stream)
        try:
            made._write(request, *items)
            _sync_folder(path.parent)
        except OSError:
            made.close()
            raise
        return made

    @classmethod
    def reopen(cls, path: Path) -> tuple[StateFile, BulkState]:
        """Open a file to go on with it, and read it; raises `CommandError`."""
        _check_kind(path)
        try:
            stream = open(path, "r+b")  # noqa: SIM115
        except OSError as error:
            raise _unusable(path, "cannot be written", error) from error
        opened = cls(path, stream)
        try:
            state = _read(path, stream.read())
        except CommandError:
            opened.close()
            raise
        stream.truncate(state.size)
        stream.seek(state.size)
        return opened, state

    def record(self, result: BulkResult) -> None:
        """Write the result; it is on the disk when this returns."""
        self._write(result)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _write(self, *lines: BulkRequest | BulkItem | BulkResult) -> None:
        self._stream.write(b"".join(json.dumps(asdict(line)).encode() + b"\n" for line in lines))
        self._stream.flush()
        os.fsync(self._stream.fileno())


def refuse_existing(path: Path) -> None:
    """Raise `CommandError` if the path of a new state file is taken: `create` would refuse it after the question."""
    if path.exists():
        raise _there_already(path)


def _there_already(path: Path) -> CommandError:
    advice = "go on with it by --resume, or name a new file by --state-file"
    return CommandError(f"the file {path} is there already", advice, Exit.USAGE)


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_state(path: Path) -> BulkState:
    """Read a state file, without a lock; raises `CommandError`."""
    _check_kind(path)
    try:
        return _read(path, path.read_bytes())
    except OSError as error:
        raise _unusable(path, "cannot be read", error) from error


def _check_kind(path: Path) -> None:
    """Refuse what may never end, such as a device or a pipe."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise _unusable(path, "cannot be read", error) from error
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_STATE:
        raise CommandError(f"{path} is not a state file", "name the file that the command made", Exit.USAGE)


def _unusable(path: Path, what: str, error: Exception) -> CommandError:
    why = getattr(error, "strerror", None) or "invalid name of a file"
    return CommandError(f"the state file {path} {what}: {why}", "name another file or folder", Exit.USAGE)


def _read(path: Path, content: bytes) -> BulkState:
    lines = content.split(b"\n")[:-1]  # what follows the last line feed was not written to its end
    request = _read_request(path, lines)
    planned = len(lines) - 1
    if planned < request.items:
        what = f"{path} lists {planned} of {counted(request.items, 'run')}: it was stopped before it acted"
        raise CommandError(what, "run the command again without --resume", Exit.USAGE)
    items = [_read_item(path, request, number, lines[number]) for number in range(1, 1 + request.items)]
    results = [_read_result(path, request, number, lines[number]) for number in range(1 + request.items, len(lines))]
    size = len(content) - len(content.rpartition(b"\n")[2])
    return BulkState(request, items, {one.item: one for one in results}, size)


def _read_request(path: Path, lines: Sequence[bytes]) -> BulkRequest:
    request = _line(path, 0, lines[0] if lines else b"", BulkRequest)
    is_known = request.version == STATE_VERSION and request.action in get_args(BulkAction)
    if not is_known or not STATE_ID.fullmatch(request.id) or request.items < 0:
        raise _odd(path, 0)
    return request


def _read_item(path: Path, request: BulkRequest, number: int, line: bytes) -> BulkItem:
    item = _line(path, number, line, BulkItem)
    stages = item.run.stages
    is_for_one = len(stages) == 1 or request.action not in STAGE_ACTIONS
    is_possible = item.run.workflow_id and all(one.number >= 1 and one.attempt >= 0 for one in stages)
    if item.item != number or not is_for_one or not is_possible:
        raise _odd(path, number)
    return item


def _read_result(path: Path, request: BulkRequest, number: int, line: bytes) -> BulkResult:
    result = _line(path, number, line, BulkResult)
    if result.result not in get_args(ResultWord) or not 1 <= result.item <= request.items:
        raise _odd(path, number)
    return result


def _line(path: Path, number: int, line: bytes, kind: type[T]) -> T:
    try:
        return convert(kind, strict_json.loads(line))
    except (strict_json.NotStrictJSON, Broken):
        raise _odd(path, number) from None


def _odd(path: Path, number: int) -> CommandError:
    """The error for a line, which are counted from 0 here: line 1 is the first item's."""
    what = f"line {number + 1} of {path} is not what `stagehook pipeline bulk` writes"
    return CommandError(what, "name the state file that the command made, unchanged", Exit.USAGE)
