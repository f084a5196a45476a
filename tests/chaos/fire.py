"""One chaos run: the plan of a seed carried out, and what came of it."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.check import broken_invariants, lost, settled_by_callback
from tests.chaos.evidence import Evidence
from tests.chaos.faults import fault_of
from tests.chaos.plan import FLOOD_PER_STAGE, Habit, Plan, PlannedFault, PlannedRun
from tests.chaos.process_faults import killed
from tests.chaos.system import Setting
from tests.chaos.trial import Trial, during, trial, unreplayable
from tests.parts.polling import until
from workflows.contract import Answer

LEAST_BY_CALLBACK: Final = 0.9
"""The share of the runs that must have ended by callbacks."""

FLOODS_WITHIN: Final = 300.0
"""Seconds in which the flood must be queued: the machine may be busy."""

Say = Callable[[str], None]


@dataclass
class Report:
    """What came of a chaos run. unfired: planned faults that did not fire. broken: sentences."""

    plan: Plan
    fired: list[PlannedFault] = field(default_factory=list)
    unfired: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    sent: int = 0
    accepted: int = 0
    lost: int = 0
    by_callback: int = 0
    runs: int = 0

    @property
    def is_good(self) -> bool:
        """Whether the run counts, and nothing is broken."""
        enough = self.runs > 0 and self.by_callback >= LEAST_BY_CALLBACK * self.runs
        return enough and not self.unfired and not self.broken

    def lines(self) -> list[str]:
        """The report, as it is printed."""
        kinds = Counter(f"{fault.kind.name} {fault.kind.part}" for fault in self.fired)
        faults = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
        plan = self.plan
        return [
            f"faults fired: {len(self.fired)} of {len(plan.faults)}: {faults}",
            *(f"did not fire: {why}" for why in self.unfired),
            f"sent {self.sent}, answered 2xx {self.accepted}, lost {self.lost}, "
            f"runs {self.runs}, ended by callbacks {self.by_callback}",
            *(f"broken: {fault}" for fault in self.broken),
            "good" if self.is_good else "NOT GOOD",
            f"again: make chaos SEED={plan.seed} SECONDS={plan.seconds:g} STORE={plan.store}",
        ]


def write_down(evidence: Evidence, folder: Path) -> None:
    """Write to the folder the store's rows, the times of the faults and the resets, to find the cause of a break."""
    rows = [asdict(row) for row in evidence.kept or ()]
    found = {"windows": [asdict(window) for window in evidence.windows], "resets": sorted(evidence.resets)}
    (folder / "evidence.json").write_text(json.dumps({**found, "rows": rows}, default=str, indent=1))


async def fire(plan: Plan, folder: Path, say: Say) -> Report:
    """Carry out a plan. folder: for the logs, the ledger and Temporal's database. say: is told what happens."""
    report = Report(plan)
    flood = _flood_runs(plan)
    habits = {**plan.habits, **{(run.id, 1): run.stages[0][1] for run in flood}}
    async with trial(folder, Setting(plan.store), habits, plan.seed) as running:
        say("the system is ready")
        watching = asyncio.create_task(running.watch())
        try:
            await _under_fire(running, report, say)
            if flood and not report.unfired:
                async with asyncio.timeout(FLOODS_WITHIN):
                    await _flood(running, flood, plan.flood, say)
        except TimeoutError:
            report.unfired.append(f"the flood was not queued within {FLOODS_WITHIN:g} s")
        finally:
            watching.cancel()
        say("the last fault is undone; waiting for the runs")
        try:
            await running.finish()
        except AssertionError as error:
            report.broken.append(f"{error}")
        say("gathering the evidence")
        evidence = await running.evidence()
        write_down(evidence, folder)
        say("ending the system")
    await _judge(report, running, evidence)
    return report


async def _under_fire(running: Trial, report: Report, say: Say) -> None:
    """Start the runs, and let the faults happen, each at its time."""
    places: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def happen(planned: PlannedFault) -> None:
        await asyncio.sleep(began + planned.at - loop.time())
        kind = planned.kind
        try:
            async with places[kind.place], during(running, kind.place, fault_of(running.system, kind)):
                report.fired.append(planned)
                say(f"{kind.name} {kind.part} for {planned.lasts:g} s, planned at {planned.at:g} s")
                await asyncio.sleep(planned.lasts)
        except Exception as error:  # whatever went wrong: the fault does not count
            what = "".join(traceback.format_exception_only(error)).strip()
            report.unfired.append(f"{kind.name} {kind.part} at {planned.at:g} s: {what}")

    async def start(run: PlannedRun) -> None:
        await asyncio.sleep(began + run.at - loop.time())
        await running.start_run(run)

    async with asyncio.TaskGroup() as group:
        for run in report.plan.runs:
            group.create_task(start(run))
        for planned in report.plan.faults:
            group.create_task(happen(planned))


def _flood_runs(plan: Plan) -> list[PlannedRun]:
    """Runs of one stage whose callbacks are queued while Temporal is away."""
    count = -(-plan.flood // FLOOD_PER_STAGE)
    waiting = Habit(silent=True)
    return [PlannedRun(f"flood-{number}", plan.seconds, [("sandbox", waiting)]) for number in range(1, count + 1)]


async def _flood(running: Trial, runs: Sequence[PlannedRun], size: int, say: Say) -> None:
    """Queue callbacks of several stages while Temporal is away, each stage's one after the other."""
    partner = running.partner
    for run in runs:
        await running.start_run(run)

    def calls() -> int:
        return len([call for call in partner.calls.values() if call.claims.workflow_id.startswith("flood-")])

    await until(lambda: calls() == len(runs), "the calls of the flood")
    found = [call for call in partner.calls.values() if call.claims.workflow_id.startswith("flood-")]
    async with during(running, "temporal", killed(running.system, "temporal")):

        async def queue(call_number: int) -> None:
            call = found[call_number]
            for number in range(size // len(found)):
                await partner.send(partner.message(call, Answer("progress", message=f"part {number} of {call.key}")))
            await partner.send(partner.message(call, call.result()))

        await asyncio.gather(*map(queue, range(len(found))))
        say(f"{running.pending()} callbacks are queued")


async def _judge(report: Report, running: Trial, evidence: Evidence) -> None:
    report.broken += broken_invariants(evidence)
    report.broken += await unreplayable(evidence)
    report.broken += running.partner.faults
    report.sent = len(evidence.entries)
    report.accepted = sum(entry.accepted for entry in evidence.entries)
    report.lost = len(list(lost(evidence)))
    report.runs = len(running.started)
    report.by_callback = sum(settled_by_callback(evidence, id_) for id_ in running.started)
