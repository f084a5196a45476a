"""What a benchmark has measured: medians of interleaved rounds, each beside the figure that it is compared with."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Way = Callable[[], Awaitable[float]]
"""One of the ways that are compared: measures once, and returns the value."""


@dataclass(frozen=True)
class Figure:
    """A measured value.

    benchmark, case, way: what was measured. Example: `door`, `32 connections`, `SQLite`.
    quantity, unit: what the value says. Example: `CPU a callback`, `ms`.
    base, ratio: the way that it is compared with, and this value as a multiple of that way's; None if there is none.
    wanted: the highest ratio that is wanted, or the highest value where there is no base; None if no bound is set.
    """

    benchmark: str
    case: str
    way: str
    quantity: str
    value: float
    unit: str
    base: str = ""
    ratio: float | None = None
    wanted: float | None = None

    @property
    def is_above(self) -> bool:
        """Whether it is above what is wanted."""
        return self.wanted is not None and (self.value if self.ratio is None else self.ratio) > self.wanted

    def __str__(self) -> str:
        shown = f"{self.case:<19} {self.way:<22} {self.quantity:<26} {self.value:10.2f} {self.unit:<3}"
        if self.ratio is not None:
            shown += f" {self.ratio:7.2f} x {self.base}"
        return shown + (f", wanted at most {self.wanted:g}" if self.is_above else "")


def compared(
    benchmark: str,
    case: str,
    quantity: str,
    unit: str,
    values: Mapping[str, float],
    base: str,
    wanted: Mapping[str, float] | None = None,
) -> list[Figure]:
    """Values by way, each as a multiple of the base's. wanted: the highest ratios, by way."""
    bounds = wanted or {}
    return [
        Figure(benchmark, case, way, quantity, value, unit, base, value / values[base], bounds.get(way))
        for way, value in values.items()
    ]


async def interleaved(rounds: int, ways: Mapping[str, Way]) -> dict[str, float]:
    """Measure every way once in each round; the median of each."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(await way())
    return {name: statistics.median(values) for name, values in found.items()}
