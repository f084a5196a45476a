"""One stage in any order of failures, silence, late successes and commands: its policies and its operators decide.

The model knows the stage's definition and what happened, in order. It decides by the rules as written, the code under
test by its code.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final, get_args

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from temporalio.converter import value_to_type

from tests.parts.examples import examples
from workflows.contract import Action, Answer, Callback, Carried, Command, Policy, Stage
from workflows.mailbox import Mailbox
from workflows.policies import decide

CHAIN: Final = "chain"
RARELY: Final = st.sampled_from([False] * 5 + [True])
"""A settled stage has nothing more to show, so few steps settle it at once."""

COMMANDS: Final = (*["extend", "call-again"] * 3, *get_args(Action))
policies = st.sampled_from(get_args(Policy))
OPEN: Final = frozenset({"pending", "calling", "waiting", "pausing", "escalated", "due"})
TAKEN: Final = {
    "extend": {"waiting", "escalated"},
    "call-again": {"waiting", "pausing", "escalated"},
    **dict.fromkeys(("succeed", "skip"), OPEN),
    "fail": OPEN - {"pending"},
}
"""The phases of the model in which each command is taken."""
STATES: Final = {
    "pending": "pending",
    "calling": "calling",
    "waiting": "waiting",
    "pausing": "waiting",
    "escalated": "needs_person",
    "settled": "settled",
}
"""What `progress` says in each phase; a stage whose next call is due is between two states."""


class Troubles(RuleBasedStateMachine):
    """A run of one stage, and beside it the phase in which it should be."""

    @initialize(on_timeout=policies, on_failure=policies, attempts=st.integers(2, 3), pause=st.sampled_from([0.0, 5.0]))
    def define(self, on_timeout: Policy, on_failure: Policy, attempts: int, pause: float) -> None:
        self.stage = Stage(1, "step", "partner", 60.0, on_timeout, attempts, on_failure=on_failure, retry_pause=pause)
        self.box = Mailbox(CHAIN, 1)
        self.clock = 1000
        self.phase = "pending"
        self.calls: list[int] = []
        self.trouble = ""
        self.expected: tuple[str, str] | None = None
        self.commands: dict[str, str] = {}
        self.extended = 0.0

    def tick(self) -> float:
        self.clock += 1
        return float(self.clock)

    # --- the rules

    def settle(self, status: str, cause: str) -> None:
        if self.phase != "settled":
            self.phase, self.expected = "settled", (status, cause)

    def fail(self, cause: str, policy: Policy) -> None:
        if self.phase not in {"calling", "waiting"}:
            return
        self.trouble = cause
        match policy:
            case "retry" if len(self.calls) < self.stage.attempts:
                self.phase = "pausing" if self.stage.retry_pause else "due"
            case "escalate":
                self.phase, self.extended = "escalated", 0.0
            case "skip":
                self.settle("skipped", cause)
            case _:
                self.settle("failed", cause)

    def decide(self) -> None:
        """What the workflow does as soon as a failure has ended its call or wait."""
        record = self.box.record(1)
        if record.is_undecided:
            record.returned(at=self.tick())
            decide(self.stage, record, at=self.tick())

    # --- what the workflow does

    @rule(steps=st.integers(1, 3), now=RARELY)
    def go_on(self, steps: int, *, now: bool) -> None:
        for _ in range(steps):
            if now or self.phase != "escalated":
                self.step()

    def step(self) -> None:
        """The stage's next step, as time passes."""
        record = self.box.record(1)
        match self.phase:
            case "pending" | "due":
                at, attempt = self.tick(), len(self.calls) + 1
                self.calls.append(int(at))
                record.begin(
                    attempt=attempt,
                    issued_at=int(at),
                    at=at,
                    expires_at=10**9,
                    on_failure=self.stage.on_failure,
                )
                self.phase, self.trouble, self.extended = "calling", "", 0.0
            case "calling":
                record.returned(at=self.tick())
                record.wait(at=self.tick(), timeout=60.0, cap=60.0)
                self.phase = "waiting"
            case "waiting":
                self.fail("timeout", self.stage.on_timeout)
                decide(self.stage, record, at=self.tick())
            case "pausing":
                self.phase = "due"
                decide(self.stage, record, at=self.tick())
            case "escalated":
                self.settle("failed", self.trouble)
                decide(self.stage, record, at=self.tick())

    @rule()
    def continue_as_new(self) -> None:
        carried: Carried = value_to_type(Carried, json.loads(json.dumps(asdict(self.box.carry()))))
        self.box = Mailbox(CHAIN, 1)
        self.box.take_over(carried)

    # --- what partners do

    @rule(cause=st.sampled_from(["callback", "answered", "asked", "failed"]))
    def decline(self, cause: Any) -> None:
        if not self.calls:
            return
        self.fail(cause, self.stage.on_failure or "fail")
        if cause == "callback":
            self.call_back("failed", len(self.calls))
        else:
            self.box.record(1).fail(cause, at=self.tick(), answer=Answer("failed"))
        self.decide()

    @rule()
    def be_out_of_reach(self) -> None:
        if self.phase == "calling":
            self.fail("failed", self.stage.on_timeout)
            self.box.record(1).fall_silent("failed", "no route", at=self.tick())
            self.decide()

    @rule(status=st.sampled_from(["succeeded", "failed", "progress"]), attempt=st.integers(1, 3), now=RARELY)
    def call_back_on_an_earlier_call(self, status: Any, attempt: int, *, now: bool) -> None:
        if attempt < len(self.calls) and (now or status != "succeeded"):
            if status == "succeeded":
                self.settle("succeeded", "callback")
            self.call_back(status, attempt)

    @rule(now=RARELY)
    def succeed(self, *, now: bool) -> None:
        if self.calls and now:
            self.settle("succeeded", "callback")
            self.call_back("succeeded", len(self.calls))

    def call_back(self, status: Any, attempt: int) -> None:
        callback = Callback(Answer(status), CHAIN, attempt, self.calls[attempt - 1])
        self.box.receive([1, asdict(callback)], at=self.tick())

    # --- what operators do

    @rule(
        action=st.sampled_from(COMMANDS),
        name=st.sampled_from("ab"),
        attempt=st.sampled_from([0, 0, 1, 2]),
    )
    def command(self, action: Any, name: str, attempt: int) -> None:
        args = [asdict(Command(name, action, 1, "alice", "as agreed", 30.0 * (action == "extend"), attempt=attempt))]
        is_taken = self.phase in TAKEN[action] and attempt in {0, len(self.calls)}
        expected = self.commands[name] == action if name in self.commands else is_taken
        assert (self.box.refusal(args) == "") == expected
        if not expected:
            return
        applied = self.box.operate(args, at=self.tick())
        assert applied.again == (name in self.commands)
        if self.commands.setdefault(name, action) and not applied.again:
            match action:
                case "extend":
                    self.extended += 30.0
                case "call-again":
                    self.phase = "due"
                case _:
                    self.settle({"succeed": "succeeded", "skip": "skipped", "fail": "failed"}[action], "operator")

    @rule(now=RARELY)
    def advance(self, *, now: bool) -> None:
        if now:
            self.settle("advanced", "operator")
            self.box.receive([1], at=self.tick())

    # --- what holds at every moment

    @invariant()
    def the_stage_is_where_the_rules_say(self) -> None:
        record = self.box.record(1)
        assert (record.outcome and (record.outcome.status, record.outcome.cause)) == self.expected
        assert record.call_due == (self.phase == "due") or self.phase == "settled"
        assert record.state == STATES.get(self.phase, record.state)
        assert record.extended == self.extended or self.phase in {"settled", "due"}
        assert record.attempt == len(self.calls)
        assert [done.id for done in self.box.commands] == list(self.commands)


TestTroubles = Troubles.TestCase
TestTroubles.settings = examples(200, steps=25)
