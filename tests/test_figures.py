"""The figures of benchmarks: ratios, bounds, and how they are told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import ModuleType

import pytest
from temporalio import runtime
from temporalio.runtime import Runtime

from benchmarks import __main__ as benchmarks
from benchmarks import burst, death, lanes, worker
from benchmarks.figures import Figure, compared, interleaved

BASE = Figure("door", "1 connection", "bare", "CPU", 0.2, "ms", base="bare", ratio=1.0)
HIGH = Figure("door", "1 connection", "SQLite", "CPU", 1.8, "ms", base="bare", ratio=9.0, wanted=8.0)


async def test_each_way_is_measured_in_each_round_and_its_median_kept() -> None:
    order, values = list[str](), {"slow": iter([9.0, 1.0, 3.0]), "fast": iter([1.0, 1.0, 1.0])}

    async def measure(name: str) -> float:
        order.append(name)
        return next(values[name])

    found = await interleaved(3, {"slow": lambda: measure("slow"), "fast": lambda: measure("fast")})
    assert (found, order) == ({"slow": 3.0, "fast": 1.0}, ["slow", "fast"] * 3)


def test_a_ratio_is_to_the_base_and_a_bound_to_the_ratio() -> None:
    found = compared("door", "1 connection", "CPU", "ms", {"bare": 0.2, "SQLite": 1.8}, "bare", {"SQLite": 8.0})
    assert [one.way for one in found] == ["bare", "SQLite"]
    assert [one.ratio for one in found] == pytest.approx([1.0, 9.0])
    assert [one.is_above for one in found] == [False, True]


def test_without_a_base_the_bound_is_to_the_value() -> None:
    assert Figure("burst", "", "SQLite", "CPU", 3.5, "ms", wanted=3.0).is_above
    assert not Figure("burst", "", "SQLite", "CPU", 2.5, "ms", wanted=3.0).is_above


@pytest.mark.parametrize(("words", "code"), [([], 0), (["--gate"], 1)])
def test_figures_are_written_as_json_and_only_a_gate_fails(
    words: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def measure() -> list[Figure]:
        return [BASE, HIGH]

    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"door": measure})
    file = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["benchmarks", "door", "--json", str(file), *words])
    assert benchmarks.main() == code
    told = json.loads(file.read_text())
    assert [one["way"] for one in told["figures"]] == ["bare", "SQLite"]
    assert told["figures"][1]["ratio"] == 9.0
    shown = capsys.readouterr().out
    assert "9.00 x bare, wanted at most 8" in shown
    assert "1.00 x bare\n" in shown


def test_a_benchmark_that_is_not_answered_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure() -> list[Figure]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"door": measure})
    monkeypatch.setattr(benchmarks, "LONGEST", 0.01)
    monkeypatch.setattr("sys.argv", ["benchmarks", "door"])
    with pytest.raises(SystemExit, match="door has not ended within"):
        benchmarks.main()


class Reached(Exception):
    """A benchmark starts its Temporal."""


@pytest.mark.parametrize("module", [burst, lanes, death, worker])
async def test_a_benchmark_may_follow_another_in_one_process(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before has used the SDK, so the default runtime is set."""

    def temporal(_: Path) -> None:
        raise Reached

    monkeypatch.setattr(runtime, "_runtime_ref", runtime._RuntimeRef())
    Runtime.default()
    monkeypatch.setattr(module, "temporal", temporal)
    with pytest.raises(Reached):
        await module.measure()
