"""DeliveryFilters: the filters of `stagehook delivery list` as the query of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from starlette.datastructures import QueryParams

from receiver.answers import Verdict
from receiver.deliveries.archive import ArchivePlace
from receiver.deliveries.delivery import Fate
from receiver.deliveries.filters import Filters
from receiver.durations import moment_of

VERDICT_NAMES: Final = tuple(verdict.name.lower() for verdict in Verdict)
FATES: Final = tuple(fate.value for fate in Fate if fate.value)
TEXTS: Final = ("partner", "pipeline", "run", "stage", "fate", "since", "until")
MOST_STAGE: Final = 1000


@dataclass(frozen=True)
class DeliveryFilters:
    """What was asked for, and what is wrong with it.

    values: the texts as they were typed, by the names of the fields. verdicts: those chosen. refused: only what was
    refused. before: the place that the page goes on from. filters: for the store. problems: one sentence each; the
    filters then leave out what is wrong.
    """

    values: Mapping[str, str]
    verdicts: tuple[str, ...]
    refused: bool
    before: ArchivePlace | None
    filters: Filters
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, query: QueryParams) -> Self:
        """Read the query of a page."""
        given = {name: _text(query.get(name, "")) for name in TEXTS}
        problems: list[str] = []
        verdicts = tuple(name for name in VERDICT_NAMES if name in query.getlist("verdict"))
        problems += [f"unknown verdict {name!r}" for name in query.getlist("verdict") if name not in VERDICT_NAMES]
        fate = given["fate"] if given["fate"] in FATES else ""
        if given["fate"] and not fate:
            problems.append(f"unknown fate {given['fate']!r}")
        until = _moment("until", given["until"], problems)
        filters = Filters(
            verdicts=verdicts,
            refused=query.get("refused") == "1",
            partner=given["partner"],
            pipeline=given["pipeline"],
            workflow=given["run"],
            stage=_stage(given["stage"], problems),
            fate=fate,
            since=_moment("since", given["since"], problems),
            until=math.inf if until is None else until,
        )
        return cls(given, verdicts, filters.refused, _place(query.get("before", ""), problems), filters, problems)

    def pairs(self) -> list[tuple[str, str]]:
        """The filters as pairs for the query of a link, without the place."""
        texts = [(name, text) for name, text in self.values.items() if text]
        return [*texts, *(("verdict", name) for name in self.verdicts), *([("refused", "1")] if self.refused else [])]


def place_text(place: ArchivePlace) -> str:
    """A place as the text in a link."""
    return f"{place.received_at!r}~{place.position}"


def _text(typed: str) -> str:
    # A lone surrogate or NUL, which no column holds, is typed by hand into the address.
    return typed.strip().replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _stage(typed: str, problems: list[str]) -> int:
    if not typed:
        return 0
    if typed.isascii() and typed.isdecimal() and 0 < int(typed[:9]) <= MOST_STAGE:
        return int(typed[:9])
    problems.append(f"invalid stage {typed!r}: use a number from 1 to {MOST_STAGE}")
    return 0


def _moment(name: str, typed: str, problems: list[str]) -> float | None:
    try:
        return moment_of(name, typed) if typed else None
    except ValueError as error:
        problems.append(str(error))
        return None


def _place(typed: str, problems: list[str]) -> ArchivePlace | None:
    at, _, position = typed.partition("~")
    try:
        place = ArchivePlace(float(at), int(position)) if typed else None
    except ValueError:
        place = None
    if typed and (place is None or not math.isfinite(place.received_at) or not 0 <= place.position < 2**63):
        problems.append("invalid place to go on from: begin with the newest")
        return None
    return place
