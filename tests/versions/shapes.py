"""Kinds of runs: each rests in a state of its own whenever the versions are switched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

HOUR: Final = 3600.0
CALL_TIMEOUT: Final = 20.0
"""Seconds after which a call is repeated whose worker was killed, unless a callback has settled the stage."""

Settled = tuple[str, str]
BY_CALLBACK: Final[Settled] = ("succeeded", "callback")


@dataclass(frozen=True)
class Step:
    """One stage: its partner, the partner's habit, how it must be settled, and what differs in its definition."""

    partner: str
    habit: str = "waiting"
    settled: Settled = BY_CALLBACK
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """A kind of run.

    rests: the stage at which a run rests in the phase of its start, in the next one, and so on.
    advanced: at the end of each phase an operator ends the wait of that stage. error: the type of the error that it
    ends with, "" for a run that completes. continues: it continues as new at least once. by_command: it is started by
    `stagehook pipeline start`, all others by plain JSON, as any client may. old_worker_only: it is started only where
    the old version's worker runs.
    """

    name: str
    steps: Sequence[Step]
    rests: Sequence[int] = (1, 2, 3)
    advanced: bool = False
    error: str = ""
    continues: bool = False
    by_command: bool = False
    old_worker_only: bool = False

    def run_input(self) -> dict[str, Any]:
        """Return the input of a run, with no field but what every version knows."""
        numbered = list(enumerate(self.steps, start=1))
        needs = {"full_name": "input.full_name"}
        stages = [
            {
                "number": number,
                "name": f"step-{number}",
                "partner": step.partner,
                "timeout": HOUR,
                "needs": {**needs, "habit": f"input.habit-{number}"},
                "call_timeout": CALL_TIMEOUT,
                **step.changes,
            }
            for number, step in numbered
        ]
        habits = {f"habit-{number}": step.habit for number, step in numbered}
        return {
            "pipeline": {"name": self.name, "stages": stages},
            "input": {"full_name": "ada lovelace", **habits},
        }

    def settled(self, phases: int) -> list[Settled]:
        """Return how each stage of a finished run must be settled, after so many phases since its start."""
        if not self.advanced:
            return [step.settled for step in self.steps]
        by_hand = self.rests[:phases]
        return [BY_HAND if number in by_hand else BY_CALLBACK for number, _ in enumerate(self.steps, start=1)]


AGAIN: Final = {"timeout": 2.0, "on_timeout": "retry", "attempts": 60}
SKIP: Final = {"timeout": 2.0, "on_timeout": "skip"}
BY_HAND: Final[Settled] = ("advanced", "operator")
ASKED: Final[Settled] = ("succeeded", "asked")
AT_ONCE: Final[Settled] = ("succeeded", "answered")
SKIPPED: Final[Settled] = ("skipped", "timeout")

SHAPES: Final = (
    Shape("waiting", (Step("cards"), Step("esign"), Step("bank"))),
    Shape("in-call", (Step("sandbox", "in-call"), Step("esign", "in-call"), Step("sandbox"))),
    Shape("progressed", (Step("bank", "progressed"), Step("sandbox", "progressed"), Step("bank", "progressed"))),
    Shape("asked", (Step("identity", "asked", ASKED), Step("identity", "asked", ASKED), Step("cards"))),
    Shape("advanced", (Step("sandbox"), Step("bank"), Step("cards")), advanced=True),
    Shape(
        "early",
        (Step("sandbox", "early"), Step("bank"), Step("bank", "early"), Step("cards")),
        rests=(2, 4),
    ),
    Shape(
        "called-again",
        (Step("esign", "called-again", changes=AGAIN), Step("sandbox", "called-again", changes=AGAIN), Step("cards")),
    ),
    Shape(
        "at-once",
        (
            Step("cards", "at-once", AT_ONCE),
            Step("sandbox"),
            Step("sandbox", "at-once", AT_ONCE),
            Step("esign"),
        ),
        rests=(2, 4),
    ),
    Shape(
        "declined",
        (Step("sandbox"), Step("bank", "declining", ("failed", "callback"))),
        rests=(1, 2),
        error="StageFailed",
    ),
    Shape(
        "refused",
        (Step("cards"), Step("sandbox", "declining", ("failed", "callback"))),
        rests=(1, 2),
        error="StageFailed",
    ),
    Shape(
        "skipped",
        (
            Step("sandbox", "mute", SKIPPED, SKIP),
            Step("cards"),
            Step("sandbox", "mute", SKIPPED, SKIP),
            Step("bank"),
        ),
        rests=(2, 4),
    ),
    Shape("long", (Step("sandbox", "talkative"), Step("bank", "talkative"), Step("cards")), continues=True),
    Shape(
        "unknown-field",
        (Step("sandbox", changes={"onTimeout": "skip"}), Step("bank"), Step("cards")),
        old_worker_only=True,
    ),
    Shape(
        "onboarding",
        (Step("identity", settled=ASKED), Step("bank"), Step("esign"), Step("cards")),
        rests=(1, 2, 3, 4),
        by_command=True,
    ),
)
