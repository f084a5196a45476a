"""The options of `stagehook delivery replay`, and the plan that it prints before it sends anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from receiver.cli.output import counted, note, print_json
from receiver.cli.terminal import printable
from receiver.deliveries.delivery import Delivery
from receiver.replay.sending import Aim, Mode
from workflows.definition import definition_digest
from workflows.pipelines import PIPELINES

A_FEW_SECONDS: Final = 5.0


@dataclass(frozen=True)
class ReplayRequest:
    """What an operator asks for: to send deliveries to the receiver `to`, and how."""

    to: str
    allow_remote: bool
    mode: Mode
    start: bool
    workflow: str
    stage: int


@dataclass(frozen=True)
class Plan:
    """How these deliveries will be sent. seconds: the minimum duration."""

    request: ReplayRequest
    deliveries: Sequence[Delivery]
    aim: Aim
    left_out: int
    seconds: float

    def tell(self, *, as_json: bool) -> None:
        """Print the plan for people, and as_json also for programs."""
        for line in self._lines():
            note(printable(line))
        if as_json:
            print_json(self._as_json())

    def _lines(self) -> list[str]:
        """Return the plan in a few lines."""
        request, runs = self.request, {delivery.chain_id: delivery for delivery in self.deliveries}
        matching = f"{counted(self.deliveries, 'delivery', 'deliveries')} of {counted(runs, 'run')}"
        lines = [f"{matching}, to {request.to}, {request.mode}"]
        begun = [delivery for chain, delivery in runs.items() if self.aim.is_begun(chain)]
        if request.workflow:
            lines.append(f"  into the run {request.workflow}" + (f", stage {request.stage}" if request.stage else ""))
        elif request.mode == "verbatim":
            lines.append("  by the captured claims, whether the runs are here or not")
        elif len(begun) < len(runs):
            lines.append(f"  {len(runs) - len(begun)} into the captured runs")
        if begun:
            of = "" if request.start else " of runs that are not here"
            lines.append(f"  {len(begun)} into stand-ins{of}; no partner is called")
        if self.seconds > A_FEW_SECONDS:
            lines.append(f"  takes {timedelta(seconds=round(self.seconds))} by --speed and --rate")
        lines += sorted({line for delivery in begun if (line := _difference(delivery))})
        return lines

    def _as_json(self) -> dict[str, Any]:
        """Return the plan for programs."""
        runs: dict[str, list[Delivery]] = {}
        for delivery in self.deliveries:
            runs.setdefault(delivery.chain_id, []).append(delivery)
        return {
            "matching": len(self.deliveries),
            "left_out": self.left_out,
            "to": self.request.to,
            "mode": self.request.mode,
            "seconds": round(self.seconds, 3),
            "runs": [self._run_as_json(those) for those in runs.values()],
        }

    def _run_as_json(self, deliveries: Sequence[Delivery]) -> dict[str, Any]:
        """Return the plan for a run's deliveries. into: the id of the run; None for a stand-in, which has no id yet."""
        request, last = self.request, deliveries[-1]
        begun = self.aim.is_begun(last.chain_id)
        return {
            "workflow_id": last.workflow_id,
            "into": None if begun else request.workflow or last.workflow_id,
            "deliveries": [
                {"id": one.id, "partner": one.partner, "stage": request.stage or one.stage} for one in deliveries
            ],
            "difference": _difference(last).strip() if begun else "",
        }


def _difference(delivery: Delivery) -> str:
    """Say how the pipeline here differs from the captured one; "" if it does not."""
    known = PIPELINES.get(delivery.pipeline)
    if known is None:
        return f"  pipeline {delivery.pipeline or 'unknown'} is not known here: stages by number"
    if delivery.definition and delivery.definition != definition_digest(known):
        return f"  pipeline {delivery.pipeline} has another definition here than at capture"
    return ""
