"""Records tests/histories/*.json on the real server: `python -m tests.workflows.record_histories`.

One history for every shape that runs have in production. Record anew only to add a shape: an old history is the promise
that a run which began under it goes on under today's code.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from activities.runs import Runs
from activities.worker import WORKFLOWS
from receiver.cli import end_process
from tests.parts.temporal import BINARIES
from tests.support import (
    QUEUE,
    Handle,
    ScriptedPartner,
    call_back,
    nested,
    operate,
    pipeline,
    result_of,
    stage,
    start,
    until,
    until_event,
    waiting,
    working,
)
from tests.workflows.classes import AtOnce
from workflows.contract import (
    ADVANCE_STAGE,
    OPERATE,
    PIPELINE_WORKFLOW,
    Answer,
    Command,
    PipelineResult,
    PipelineRun,
    Question,
    Receipt,
    Stage,
    StageCall,
)
from workflows.finding import ATTRIBUTES
from workflows.pipelines import REVIEWED_ONBOARDING, WORKFLOW_TYPES

FOLDER: Final = Path(__file__).parents[1] / "histories"

STACK_TRACE: Final = re.compile(r'("stackTrace": )"(?:[^"\\]|\\.)*"')
"""It names the folders of the machine that recorded it, and replay does not need it."""

EVENTS_UNTIL_CONTINUED: Final = 60
"""Events after which the recording server suggests to continue as new."""

Script = Callable[[Handle, ScriptedPartner], Awaitable[None]]


async def answer_both(handle: Handle, partner: ScriptedPartner) -> None:
    for number in (1, 2):
        await waiting(handle, number)
        await call_back(handle, partner.calls[-1], Answer("succeeded", data={"found": number}))


async def answer_twice_and_late(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    for status in ("progress", "succeeded", "succeeded", "failed"):
        await call_back(handle, partner.calls[0], Answer(status))
    await waiting(handle, 2)
    await call_back(handle, partner.calls[1])


async def answer_the_second_call(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1, attempt=2)
    await call_back(handle, partner.calls[1])


async def advance_by_hand(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    await handle.signal(ADVANCE_STAGE, args=["junk", 1, 2])
    await handle.signal(ADVANCE_STAGE, 2)


async def decline(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    await call_back(handle, partner.calls[0], Answer("failed", code="declined"))


async def cancel(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    await handle.cancel()


async def tell_to_ask(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    await call_back(handle, partner.calls[0], Answer("ask"))


async def leave_stuck(handle: Handle, partner: ScriptedPartner) -> None:
    await until_event(handle, "workflow_task_failed_event_attributes")


async def tell_to_ask_and_leave_stuck(handle: Handle, partner: ScriptedPartner) -> None:
    await tell_to_ask(handle, partner)
    await leave_stuck(handle, partner)


async def answer_the_second_stage(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 2)
    await call_back(handle, partner.calls[-1])


async def say_nothing(handle: Handle, partner: ScriptedPartner) -> None:
    pass


async def answer_the_first_with_deep_data(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    await call_back(handle, partner.calls[0], Answer("succeeded", data={"found": nested(100)}))
    await waiting(handle, 2)


NO: Final = Answer("failed", code="declined")


async def decline_and_succeed_late(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    await call_back(handle, partner.calls[0], NO)
    await until(handle, 1, lambda known: known.state == "needs_person")
    await call_back(handle, partner.calls[0])


async def decline_once(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    await call_back(handle, partner.calls[0], NO)
    await waiting(handle, 1, attempt=2)
    await call_back(handle, partner.calls[1])


async def command(handle: Handle, partner: ScriptedPartner) -> None:
    await waiting(handle, 1)
    await operate(handle, "extend", seconds=60.0)
    await operate(handle, "call-again")
    await waiting(handle, 1, attempt=2)
    await operate(handle, "succeed", data={"found": 1})
    await waiting(handle, 2)
    await operate(handle, "skip", 2)


async def see_through_each_state(handle: Handle, partner: ScriptedPartner) -> None:
    """A stage is settled, two wait, one is being called, one needs a person, one pauses, and one is pending."""
    for number, state in enumerate(("settled", "waiting", "waiting", "calling", "needs_person", "waiting"), start=1):
        await until(handle, number, lambda known, state=state: known.state == state)  # type: ignore[misc]
    await operate(handle, "extend", 2, seconds=60.0)
    latest = await continued(handle)
    for number in (2, 3, 4, 5, 6):
        calls = [call for call in partner.calls if call.stage == number]
        await call_back(latest, calls[-1])
    await waiting(latest, 7)
    await call_back(latest, partner.calls[-1])


async def continued(handle: Handle) -> Handle:
    """Send signals that mean nothing until the run continues as new; return a handle of its latest execution."""
    latest: Handle = handle._client.get_workflow_handle(handle.id, result_type=PipelineResult)
    async with asyncio.timeout(60):
        while (await latest.describe()).run_id == handle.first_execution_run_id:
            await latest.signal(ADVANCE_STAGE, "junk")
    return latest


async def extend_and_answer(handle: Handle, partner: ScriptedPartner) -> None:
    await until(handle, 1, lambda stage: stage.state == "needs_person")
    await handle.execute_update(OPERATE, Command("c-1", "extend", 1, "ada", "a holiday", seconds=3600.0))
    await call_back(handle, partner.calls[0])
    await waiting(handle, 2)
    await call_back(handle, partner.calls[1])


async def progress_past_the_deadline(handle: Handle, partner: ScriptedPartner) -> None:
    """Progress puts the deadline off twice; the timers of the first and of the second deadline fire in vain."""
    await waiting(handle, 1)
    await asyncio.sleep(SHORT[0].timeout / 2)
    for timers in (1, 2):
        await call_back(handle, partner.calls[0], Answer("progress"))
        await until_event(handle, "timer_fired_event_attributes", timers)
    await call_back(handle, partner.calls[0])
    await waiting(handle, 2)
    await call_back(handle, partner.calls[1])


async def decline_the_check(handle: Handle, partner: ScriptedPartner) -> None:
    for number in (1, 2, 3):
        await waiting(handle, number)
        await call_back(handle, partner.calls[-1], Answer("failed" if number == 1 else "succeeded"))


TWO: Final = (stage(1), stage(2, needs={"ref": "step-1.found"}))
DEEP: Final = (stage(1, needs={"deep": "input.deep"}), stage(2, needs={"ref": "step-1.found"}))
EACH_STATE: Final = (
    *(stage(number) for number in (1, 2, 3, 4)),
    stage(5, on_failure="escalate"),
    stage(6, on_failure="retry", attempts=2, retry_pause=3600.0),
    stage(7),
)
SHORT: Final = (stage(1, timeout=4.0), stage(2))
SHAPES: Final[dict[str, tuple[Sequence[Stage], Script]]] = {
    "completed": (TWO, answer_both),
    "duplicates-and-progress": ((stage(1), stage(2)), answer_twice_and_late),
    "called-again": ((stage(1, timeout=0.2, on_timeout="retry", attempts=2),), answer_the_second_call),
    "advanced-by-hand": ((stage(1), stage(2)), advance_by_hand),
    "declined": ((stage(1),), decline),
    "timed-out": ((stage(1, timeout=0.2),), say_nothing),
    "skipped": ((stage(1, timeout=0.2, on_timeout="skip"),), say_nothing),
    "cancelled": ((stage(1),), cancel),
    "asked-when-told": ((stage(1),), tell_to_ask),
    "asked-at-the-deadline": ((stage(1, timeout=0.2, longest_wait=0.3),), say_nothing),
    "answered-with-nan": (TWO, answer_the_second_stage),
    "stuck-on-an-answered-code": ((stage(1),), leave_stuck),
    "answered-with-a-surrogate": ((stage(1),), say_nothing),
    "stuck-on-an-asked-message": ((stage(1),), tell_to_ask_and_leave_stuck),
    "unknown-field-and-deep-data": (DEEP, answer_the_first_with_deep_data),
    "escalated": ((stage(1, on_failure="escalate"),), decline_and_succeed_late),
    "retried-after-a-pause": ((stage(1, on_failure="retry", attempts=2, retry_pause=0.2),), decline_once),
    "skipped-on-failure": ((stage(1, on_failure="skip"),), say_nothing),
    "escalated-in-vain": ((stage(1, timeout=0.2, on_timeout="escalate", escalate_within=0.3),), say_nothing),
    "asked-every-second": ((stage(1, ask_every=1.0),), say_nothing),
    "commanded": ((stage(1), stage(2)), command),
    "continues-in-each-state": (EACH_STATE, see_through_each_state),
    "continued-in-each-state": (EACH_STATE, see_through_each_state),
    "found-by-attributes": ((stage(1, timeout=0.2, on_timeout="escalate"), stage(2)), extend_and_answer),
    "progressed-past-the-deadline": (SHORT, progress_past_the_deadline),
    "deadline-written-again": (SHORT, progress_past_the_deadline),
    "reviewed": (REVIEWED_ONBOARDING.stages, decline_the_check),
}
"""`stuck-...` were recorded before workflows read activity results guardedly: these runs come loose today.
`progressed-...` was recorded before progress moved the search attribute `StagehookDeadline`."""

UNFINISHED: Final = {"unknown-field-and-deep-data"}
"""Recorded while the run waits: it began under a version that refused neither, and must go on under today's."""


async def still_at_it(question: Question) -> Answer:
    return Answer("progress")


async def done(question: Question) -> Answer:
    return Answer("succeeded")


async def unsaid(question: Question) -> Answer:
    return Answer("failed", message=None)  # type: ignore[arg-type]


async def not_a_number(call: StageCall) -> Receipt:
    return Receipt("work", answer=Answer("succeeded", {"found": float("nan")}) if call.stage == 1 else None)


async def numbered(call: StageCall) -> Receipt:
    return Receipt("work", answer=Answer("failed", code=1042, message="bad"))  # type: ignore[arg-type]


async def half_an_emoji(call: StageCall) -> Receipt:
    return Receipt("work", answer=Answer("failed", message="declined by Zoe \ud83d"))


async def declined_at_once(call: StageCall) -> Receipt:
    return Receipt("work", answer=NO)


async def in_each_state(call: StageCall) -> Receipt:
    """Answer the first stage, never end the call of the fourth, and decline the fifth and sixth."""
    match call.stage:
        case 1:
            return Receipt("work", answer=Answer("succeeded"))
        case 4:
            await asyncio.Event().wait()
        case 5 | 6:
            return Receipt("work", answer=NO)
    return Receipt("work")


STATUS: Final = {
    "asked-every-second": done,
    "asked-when-told": done,
    "asked-at-the-deadline": still_at_it,
    "stuck-on-an-asked-message": unsaid,
}
"""What the partner says when it is asked, in the shapes where it can be."""

RECEIPTS: Final = {
    "answered-with-nan": not_a_number,
    "stuck-on-an-answered-code": numbered,
    "answered-with-a-surrogate": half_an_emoji,
    "skipped-on-failure": declined_at_once,
    "continues-in-each-state": in_each_state,
    "continued-in-each-state": in_each_state,
}
"""What the partner answers a call with, in the shapes where that is more than an id of the work."""


async def start_loosely(client: Client, *stages: Stage, id: str) -> Handle:  # noqa: A002
    """Start a run whose stages have an unknown field, and whose input is nested 100 levels deep."""
    written = [{**asdict(stage), "onTimeout": "skip"} for stage in stages]
    run = {"pipeline": {"name": "testing", "stages": written}, "input": {"deep": nested(100)}}
    return await client.start_workflow(PIPELINE_WORKFLOW, run, id=id, task_queue=QUEUE, result_type=PipelineResult)


async def start_findable(client: Client, *stages: Stage, id: str) -> Handle:  # noqa: A002
    """Start a run that writes search attributes."""
    return await Runs(client).start(pipeline(*stages), {}, task_queue=QUEUE, workflow_id=id)


async def start_reviewed(client: Client, *stages: Stage, id: str) -> Handle:  # noqa: A002
    """Start a run of a class of its own."""
    run = PipelineRun(REVIEWED_ONBOARDING, {"full_name": "ada lovelace", "date_of_birth": "1815-12-10"})
    kind = WORKFLOW_TYPES[REVIEWED_ONBOARDING.name]
    return await client.start_workflow(kind, run, id=id, task_queue=QUEUE, result_type=PipelineResult)


STARTS: Final = {
    "unknown-field-and-deep-data": start_loosely,
    "found-by-attributes": start_findable,
    "progressed-past-the-deadline": start_findable,
    "deadline-written-again": start_findable,
    "reviewed": start_reviewed,
}
"""How the run is started, in the shapes where that is unusual."""


async def record(env: WorkflowEnvironment, name: str) -> str:
    stages, script = SHAPES[name]
    partner = ScriptedPartner(RECEIPTS.get(name), STATUS.get(name))
    async with working(env.client, partner, [*WORKFLOWS, AtOnce]):
        if begin := STARTS.get(name):
            handle = await begin(env.client, *stages, id=name)
        else:
            handle = await start(env.client, *stages, id=name, kind=KINDS.get(name, PIPELINE_WORKFLOW))
        await script(handle, partner)
        if not name.startswith("stuck-") and name not in UNFINISHED:
            with contextlib.suppress(WorkflowFailureError):  # as the shape's name says
                await result_of(handle)
        if name.startswith("continues-"):
            handle = env.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        history = (await handle.fetch_history()).to_json()
        return STACK_TRACE.sub(r'\1""', history)


KINDS: Final = {"continues-in-each-state": "AtOnce", "continued-in-each-state": "AtOnce"}
"""The workflow type of the shapes that no definition can have."""


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    suggest = f"limit.historyCount.suggestContinueAsNew={EVENTS_UNTIL_CONTINUED}"
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BINARIES / "temporal"),
        identity="recorder",
        dev_server_log_level="error",
        dev_server_extra_args=["--dynamic-config-value", suggest],
        search_attributes=ATTRIBUTES,
    ) as env:
        for name in SHAPES:
            file = FOLDER / f"{name}.json"
            if not file.exists():
                file.write_text(await record(env, name) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
    end_process(0)
