"""The mailbox under any order of everything: a stage settles at most once, by the first valid cause, and by none other.

The model knows only what was sent, in order. It decides by the rules as written, the mailbox by its code.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.parts.examples import examples
from tests.support import nested
from workflows.contract import Answer, Callback, Carried, Outcome, Receipt
from workflows.mailbox import Mailbox
from workflows.stage_record import LEDGER_LENGTH, StageRecord

CHAIN, LAST = "chain", 3
stages = st.integers(1, LAST)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.characters(categories=["Cs"])
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
) | st.sampled_from([65, 700, 5_000]).map(nested)
statuses = st.sampled_from(["succeeded", "failed", "progress", "ask"])


class Deliveries(RuleBasedStateMachine):
    """One run's mailbox, and beside it the first cause that each stage should be settled by."""

    def __init__(self) -> None:
        super().__init__()
        self.box = Mailbox(CHAIN, LAST)
        self.clock = 1000
        self.expected: dict[int, tuple[str, str]] = {}
        self.calls: dict[int, list[tuple[int, int]]] = {stage: [] for stage in range(1, LAST + 1)}
        self.first: dict[int, Outcome] = {}
        self.sent = 0

    def tick(self) -> float:
        self.clock += 1
        return float(self.clock)

    def send(self, *args: Any) -> None:
        self.sent += 1
        self.box.receive(args, at=self.tick())

    def callback(self, status: Any, attempt: int, issued_at: int, chain: str = CHAIN) -> dict[str, Any]:
        return asdict(Callback(Answer(status), chain, attempt, issued_at))

    # --- what the workflow does

    @rule(stage=stages)
    def call(self, stage: int) -> None:
        at = self.tick()
        attempt = len(self.calls[stage]) + 1
        self.calls[stage].append((attempt, int(at)))
        self.box.record(stage).begin(attempt=attempt, issued_at=int(at), at=at)

    @precondition(lambda self: any(self.calls.values()))
    @rule(stage=stages)
    def time_out(self, stage: int) -> None:
        self.expected.setdefault(stage, ("failed", "timeout"))
        self.box.record(stage).settle("failed", "timeout", at=self.tick())

    @rule(stage=stages)
    def answer_at_once(self, stage: int) -> None:
        self.expected.setdefault(stage, ("succeeded", "answered"))
        self.box.record(stage).settle("succeeded", "answered", at=self.tick(), answer=Answer("succeeded"))

    @rule(stage=stages, askable=st.booleans())
    def return_from_the_call(self, stage: int, *, askable: bool) -> None:
        if self.box.record(stage).in_call:
            self.box.record(stage).received(Receipt("work", askable=askable))
            self.box.record(stage).returned(at=self.tick())

    @rule(stage=stages, status=statuses)
    def ask_the_partner(self, stage: int, status: Any) -> None:
        if self.box.record(stage).askable:
            self.box.record(stage).ask()
            if status in {"succeeded", "failed"}:
                self.expected.setdefault(stage, (status, "asked"))
            self.box.record(stage).asked(Answer(status), at=self.tick())

    # --- what partners send

    @precondition(lambda self: any(self.calls.values()))
    @rule(data=st.data(), stage=stages, status=statuses)
    def call_back(self, data: st.DataObject, stage: int, status: str) -> None:
        if not self.calls[stage]:
            return
        attempt, issued_at = data.draw(st.sampled_from(self.calls[stage]))
        current = (attempt, issued_at) == self.calls[stage][-1]
        if status == "succeeded" or (status == "failed" and current):
            self.expected.setdefault(stage, (status, "callback"))
        self.send(stage, self.callback(status, attempt, issued_at))

    @rule(stage=stages, levels=st.sampled_from([65, 100, 400, 700, 900, 5_000]), status=statuses)
    def call_back_with_deeply_nested_data(self, stage: int, levels: int, status: str) -> None:
        callback = self.callback(status, 1, self.clock)
        callback["answer"]["data"] = {"x": nested(levels)}
        self.send(stage, callback)

    @rule(stage=stages, attempt=st.integers(1, 3), status=statuses)
    def call_back_from_a_replaced_timeline(self, stage: int, attempt: int, status: str) -> None:
        if status == "succeeded":
            self.expected.setdefault(stage, (status, "callback"))
        self.send(stage, self.callback(status, attempt, issued_at=5))

    @rule(stage=stages, status=statuses, chain=st.text(max_size=5))
    def call_back_from_another_run(self, stage: int, status: str, chain: str) -> None:
        self.send(stage, self.callback(status, 1, self.clock, chain))

    @rule(stage=st.integers().filter(lambda n: not 1 <= n <= LAST), status=statuses)
    def call_back_for_no_stage(self, stage: int, status: str) -> None:
        self.send(stage, self.callback(status, 1, self.clock))

    # --- what people send

    @rule(stage=stages)
    def advance(self, stage: int) -> None:
        if stage > self.box.advanced_to:
            for number in range(1, stage + 1):
                self.expected.setdefault(number, ("advanced", "operator"))
        self.send(stage)

    @rule(args=st.lists(anything, max_size=4))
    def send_junk(self, args: list[Any]) -> None:
        if len(args) in {1, 2} and type(args[0]) is int and 1 <= args[0] <= LAST and args[1:] in ([], [None]):
            return  # that is a signal by hand
        self.send(*args)

    @rule()
    def continue_as_new(self) -> None:
        carried = Carried(**json.loads(json.dumps(asdict(self.box.carry()))))
        self.box = Mailbox(CHAIN, LAST)
        self.box.take_over(carried)

    # --- what holds at every moment

    @invariant()
    def each_stage_is_settled_by_its_first_valid_cause_and_stays_so(self) -> None:
        for stage in range(1, LAST + 1):
            outcome = self.box.record(stage).outcome
            assert (outcome and (outcome.status, outcome.cause)) == self.expected.get(stage)
            if outcome:
                assert self.first.setdefault(stage, outcome) == outcome

    @invariant()
    def what_is_kept_is_bounded_and_can_travel(self) -> None:
        records: list[StageRecord] = [self.box.record(stage) for stage in range(1, LAST + 1)]
        assert all(len(record.ledger) <= LEDGER_LENGTH for record in records)
        assert len(self.box.ignored) < 10
        json.dumps(asdict(self.box.carry()), allow_nan=False, ensure_ascii=False).encode()


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = examples(75, steps=40)
