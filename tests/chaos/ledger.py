"""The partner's ledger: every request that it sent, and how it was answered. It is on disk before the next step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from activities.callback_urls import Claims
from workflows.contract import Answer

Kind = Literal["callback", "conflict", "again", "forged"]
TRIED_AGAIN: Final = (429, 503)


@dataclass(frozen=True)
class Entry:
    """A request and its answer. Times are unix seconds.

    claims: of the token that it was sent to, or that was forged. answer: what it says, as the partner's file reads it.
    content: what repeats of the request have in common. status: 0 if no answer was read.
    """

    kind: Kind
    claims: Claims
    answer: Answer
    content: str
    door: str
    sent_at: float
    answered_at: float
    status: int

    @property
    def accepted(self) -> bool:
        """Whether it was answered 2xx."""
        return 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Whether the answer ends the partner's tries."""
        return self.status not in {0, *TRIED_AGAIN}

    @property
    def stage(self) -> tuple[str, int]:
        """The workflow id and the number of the stage."""
        return self.claims.workflow_id, self.claims.stage


class Ledger:
    """The entries of a run, in memory and in a file."""

    def __init__(self, file: Path) -> None:
        self.entries: list[Entry] = []
        self._file = file.open("a")

    def announce(self, content: str, kind: Kind, at: float) -> None:
        """Note that a request is about to be sent."""
        self._write({"sending": content, "kind": kind, "sent_at": at})

    def enter(self, entry: Entry) -> None:
        """Note a request and its answer."""
        self.entries.append(entry)
        self._write(asdict(entry))

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def accepted(self) -> Iterator[Entry]:
        """The callbacks that were answered 2xx."""
        return (entry for entry in self.entries if entry.accepted and entry.kind != "forged")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
