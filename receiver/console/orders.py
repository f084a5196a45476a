"""Orders: what an operator can do about a run and its stages, when it is possible, and doing it.

An order is sent by a form that holds what the operator has seen: the run's chain and execution, and the stage's call.
If the run has gone on since, the order is refused. The form also holds the id of the command, so that a form that is
sent twice acts once.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from activities import strict_json
from activities.operations import SeenCall, WentOn, cancel_text, operate
from activities.resets import ResumedBefore, resume, was_resumed
from activities.run_errors import ProgressUnknown, RunEnded
from activities.runs import Runs
from receiver.durations import duration_of
from receiver.telling.looking import GOOD, RunLook
from workflows.contract import Action, Command, SignalSender, StageProgress
from workflows.finding import OPEN_STATES
from workflows.stage_record import LONGEST_TEXT

logger = logging.getLogger("stagehook.console")


class InvalidOrder(ValueError):
    """A field of the form is missing or invalid. The message is a sentence for the operator."""


@dataclass(frozen=True)
class RunOrder:
    """A kind of order.

    label: on the button. what: what it does, for a form; `{stage}` is the stage's number. is_grave: it ends something.
    fields: what its form asks for besides the reason: `duration`, `data`, or `from_stage`, the stage to resume from.
    """

    name: str
    label: str
    what: str
    is_grave: bool = False
    fields: tuple[str, ...] = ()


ORDERS: Final[Mapping[str, RunOrder]] = {
    order.name: order
    for order in (
        RunOrder("extend", "Extend", "Put off the deadline of stage {stage}.", fields=("duration",)),
        RunOrder(
            "call-again",
            "Call again",
            "Call the partner of stage {stage} again now, with a new callback URL. A late success at an earlier URL "
            "still settles the stage.",
        ),
        RunOrder(
            "succeed",
            "Succeed",
            "Settle stage {stage} as succeeded, with the data that later stages need.",
            is_grave=True,
            fields=("data",),
        ),
        RunOrder(
            "skip",
            "Skip",
            "Settle stage {stage} as skipped: the run goes on without its data. A later stage that needs a field of it "
            "ends the run.",
            is_grave=True,
        ),
        RunOrder("fail", "Fail", "Settle stage {stage} as failed, which ends the run.", is_grave=True),
        RunOrder(
            "advance",
            "Advance",
            "End every wait up to stage {stage}. Partners of later stages up to it are still called, but not waited "
            "for.",
            is_grave=True,
        ),
        RunOrder(
            "cancel",
            "Cancel the run",
            "Cancel the run: its open stages end as cancelled, and no later stage is called.",
            is_grave=True,
        ),
        RunOrder(
            "resume",
            "Resume the run",
            "Go on with the run from before the call of a stage. The stage's partner is called again with a new URL.",
            fields=("from_stage",),
        ),
    )
}
"""Every order, by its name."""


def orders_for_stage(look: RunLook, stage: StageProgress) -> Iterator[RunOrder]:
    """Yield the orders that are possible for a stage."""
    if look.status != "running" or stage.outcome:
        return
    is_open = stage.state in OPEN_STATES
    if is_open and stage.deadline is not None and not stage.calls_again_at and stage.state != "calling":
        yield ORDERS["extend"]
    if is_open and stage.attempts and stage.state != "calling":
        yield ORDERS["call-again"]
    if is_open:
        yield ORDERS["succeed"]
    yield ORDERS["skip"]
    if is_open:
        yield ORDERS["fail"]
        yield ORDERS["advance"]


def orders_for_run(look: RunLook) -> Iterator[RunOrder]:
    """Yield the orders that are possible for the run."""
    if look.status == "running":
        yield ORDERS["cancel"]
    elif look.status not in GOOD:
        yield ORDERS["resume"]


def possible(look: RunLook, name: str, stage: int) -> bool:
    """Whether the order is possible. stage: its number, 0 for an order for the run."""
    if not stage:
        return any(order.name == name for order in orders_for_run(look))
    stages = look.progress.stages if look.progress else ()
    return any(order.name == name for one in stages if one.number == stage for order in orders_for_stage(look, one))


def seen_fields(look: RunLook, stage: int) -> dict[str, str]:
    """The hidden fields of an order's form: the id of its command, and what the operator has seen."""
    stages = look.progress.stages if look.progress else ()
    one = next((one for one in stages if one.number == stage), None)
    return {
        "command": str(uuid.uuid4()),
        "execution": look.run_id,
        "chain": look.chain_id,
        "attempt": str(one.attempts) if one else "0",
        "called": repr(one.called_at) if one and one.called_at else "",
    }


@dataclass(frozen=True)
class Given:
    """A form that was sent. actor: who sends it. form: its fields."""

    workflow_id: str
    stage: int
    actor: str
    form: Mapping[str, str]

    @property
    def reason(self) -> str:
        """The reason; raises `InvalidOrder` if it is missing or too long."""
        reason = self.form.get("reason", "").strip()
        if not 1 <= len(reason) <= LONGEST_TEXT:
            raise InvalidOrder(f"the reason has {len(reason)} characters: use 1 to {LONGEST_TEXT}")
        return reason

    @property
    def seen(self) -> SeenCall:
        """The call that the operator has seen; raises `InvalidOrder`."""
        try:
            called = self.form["called"]
            return SeenCall(self.form["chain"], int(self.form["attempt"]), float(called) if called else None)
        except (KeyError, ValueError) as error:
            raise InvalidOrder("the form is incomplete: load it again") from error

    def command(self, action: Action) -> Command:
        """The command for the run; raises `InvalidOrder`."""
        return Command(
            self.form.get("command", ""),
            action,
            self.stage,
            self.actor,
            self.reason,
            seconds=self._seconds() if action == "extend" else 0.0,
            data=self._data() if action == "succeed" else {},
        )

    def _seconds(self) -> float:
        try:
            return duration_of(self.form.get("duration", "").strip())
        except ValueError as error:
            raise InvalidOrder(str(error)) from error

    def _data(self) -> dict[str, Any]:
        try:
            value = strict_json.loads(self.form.get("data", "").strip().encode() or b"{}")
        except strict_json.NotStrictJSON as error:
            raise InvalidOrder(f"the data is not a JSON object: {error}") from error
        if not isinstance(value, dict):
            raise InvalidOrder("the data is not a JSON object: begin it with {")
        return value


async def carry_out(runs: Runs, name: str, given: Given) -> str:
    """Carry out an order, and return what was done as a sentence.

    Raises `InvalidOrder`, and what `operate`, `resume`, `Runs.advance` and `Runs.cancel` raise.
    """
    act = ACTS.get(name, _operate)
    done = await act(runs, name, given)
    facts = {"order": name, "run": given.workflow_id, "stage": given.stage, "actor": given.actor}
    logger.info("console-order", extra={**facts, "reason": given.reason})
    return done


async def _operate(runs: Runs, name: str, given: Given) -> str:
    command, seen = given.command(cast(Action, name)), given.seen
    applied = await operate(runs, given.workflow_id, command, repeated=True, seen=seen)
    return f"Stage {applied.stage}: {applied.what}."


async def _advance(runs: Runs, name: str, given: Given) -> str:
    sender, seen = SignalSender(given.actor, given.reason), given.seen
    with contextlib.suppress(ProgressUnknown):
        # Sent twice, it ends no other wait; so only another run is a reason to refuse it.
        if why := seen.why_gone(given.stage, await runs.progress(given.workflow_id), repeated=True):
            raise WentOn(why)
    await runs.check_open(given.workflow_id)
    await runs.advance(given.workflow_id, given.stage, sender)
    return f"Sent: the waits up to stage {given.stage} are over."


async def _cancel(runs: Runs, name: str, given: Given) -> str:
    reason, chain = cancel_text(given.actor, given.reason), given.seen.chain_id
    try:
        await runs.cancel(given.workflow_id, chain_id=chain, reason=reason)
    except RunEnded:
        # The form may have been sent before.
        if not await runs.was_cancelled(given.workflow_id, chain, reason):
            raise
    return "Sent: the run is asked to end."


async def _resume(runs: Runs, name: str, given: Given) -> str:
    chosen = given.form.get("from_stage", "0")
    if not (chosen.isascii() and chosen.isdigit() and len(chosen) <= 6):
        raise InvalidOrder("the stage to resume from is not a number: choose one of the list")
    told = f"resumed by {given.actor}: {given.reason}"
    execution = given.form.get("execution", "")
    try:
        resumed = await resume(runs, given.workflow_id, int(chosen), reason=told, at=time.time(), execution=execution)
    except ResumedBefore:
        # The form may have been sent before.
        if not await was_resumed(runs, given.workflow_id, execution, told):
            raise
        return "Resumed: the run goes on."
    first = resumed.again[0]
    return f"Resumed: the run goes on from before call {first.attempt} of stage {first.stage} {first.name}."


ACTS: Final[Mapping[str, Callable[[Runs, str, Given], Awaitable[str]]]] = {
    "advance": _advance,
    "cancel": _cancel,
    "resume": _resume,
}
"""What carries out the orders that are not commands for a stage."""
