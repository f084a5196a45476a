"""Settlements: counts the stages of a run as they settle, in the metrics of the worker.

A metric is not recorded in the history. In a replay, and while a run leaves the worker's cache, the SDK's meter counts
nothing, so each stage counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from temporalio import workflow

from workflows.contract import Stage
from workflows.stage_record import StageRecord

STAGES_SETTLED: Final = "stagehook_stages_settled"
CALLBACK_SECONDS: Final = "stagehook_callback_seconds"
"""Names of the metrics. Prometheus shows the first with `_total` at its end."""

LONGEST_LABEL: Final = 100
"""Characters of a label's value: any client can start a run with long names."""


class Settlements:
    """The stages of a run that have been counted. pipeline: the name of the run's pipeline."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._counted: set[int] = set()

    def take_over(self, stages: Iterable[tuple[Stage, StageRecord]]) -> None:
        """Leave out the stages that an earlier execution of the chain has settled, and so has counted."""
        self._counted.update(stage.number for stage, record in stages if record.outcome is not None)

    def count(self, stages: Iterable[tuple[Stage, StageRecord]]) -> None:
        """Count the stages that have settled since the last time."""
        for stage, record in stages:
            if record.outcome is not None and stage.number not in self._counted:
                self._counted.add(stage.number)
                self._count(stage, record)

    def _count(self, stage: Stage, record: StageRecord) -> None:
        assert record.outcome is not None
        named = {"pipeline": self._pipeline, "stage": stage.name or stage.number, "partner": stage.partner}
        labels = {name: label_text(value) for name, value in named.items()}
        outcome = {"status": record.outcome.status, "cause": record.outcome.cause}
        meter = workflow.metric_meter()
        meter.create_counter(STAGES_SETTLED, "Stages that have settled.").add(1, {**labels, **outcome})
        if (seconds := _seconds_to_callback(record)) is not None:
            says = "From a call to the callback that settled its stage."
            meter.create_histogram_float(CALLBACK_SECONDS, says, "s").record(seconds, labels)


def _seconds_to_callback(record: StageRecord) -> float | None:
    """None without a callback, and for a callback of an earlier call, whose time is not known any more."""
    outcome = record.outcome
    if outcome is None or outcome.cause != "callback" or outcome.attempt != record.attempt or record.called_at is None:
        return None
    return max(0.0, outcome.at - record.called_at)


def label_text(value: object) -> str:
    """The value as a label of a metric: not long, and UTF-8.

    A lone surrogate, which JSON permits, would make the meter raise: the run would be blocked, or the call repeated.
    """
    return str(value)[:LONGEST_LABEL].encode("utf-8", "replace").decode()
