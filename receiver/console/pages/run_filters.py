"""The filters of the pages that list runs: the query of the page's address, and the fields of its form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from activities.finding import RunFilter
from activities.run_words import RUN_STATUSES
from receiver.durations import date_of

STATES_OF_FORM: Final = ("needs_person", "waiting")
LONGEST_FILTER: Final = 1_000


@dataclass(frozen=True)
class FilterForm:
    """What was filled in. values: the fields by name. where: what it finds. problem: what is wrong with it, or ""."""

    values: Mapping[str, str]
    where: RunFilter
    problem: str = ""

    @property
    def query(self) -> dict[str, str]:
        """The fields that have a value, for links to other pages of the list."""
        return {name: value for name, value in self.values.items() if value}


def read_filters(query: Mapping[str, str], names: tuple[str, ...]) -> FilterForm:
    """Read the fields with these names. An invalid value becomes a problem, and the filter then finds every run."""
    values = {name: query.get(name, "").strip()[:LONGEST_FILTER] for name in names}
    try:
        return FilterForm(values, _filter(values))
    except ValueError as error:
        return FilterForm(values, RunFilter(), str(error))


def _filter(values: Mapping[str, str]) -> RunFilter:
    given = {name: value for name, value in values.items() if value}
    if (state := given.get("state", "")) not in {"", *STATES_OF_FORM}:
        raise ValueError(f"unknown state {state!r}: use one of {', '.join(STATES_OF_FORM)}")
    if (status := given.get("status", "")) not in {"", *RUN_STATUSES}:
        raise ValueError(f"unknown status {status!r}: use one of {', '.join(RUN_STATUSES)}")
    moments = [date_of("due", given["due"], ahead=True)] if "due" in given else []
    if "overdue" in given:
        moments.append(datetime.now(UTC))
    return RunFilter(
        pipeline=given.get("pipeline", ""),
        partner=given.get("partner", ""),
        stage=given.get("stage", ""),
        state=state,
        status=status,
        due=min(moments, default=None),
        since=date_of("since", given["since"]) if "since" in given else None,
    )
