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

from receiver.cli import end_process
from tests.parts.temporal import BINARIES
from tests.support import (
    QUEUE,
    Handle,
    ScriptedPartner,
    call_back,
    nested,
    result_of,
    stage,
    start,
    until_event,
    waiting,
    working,
)
from workflows.contract import (
    ADVANCE_STAGE,
    PIPELINE_WORKFLOW,
    Answer,
    PipelineResult,
    Question,
    Receipt,
    Stage,
    StageCall,
)

FOLDER: Final = Path(__file__).parents[1] / "histories"

STACK_TRACE: Final = re.compile(r'("stackTrace": )"(?:[^"\\]|\\.)*"')
"""It names the folders of the machine that recorded it, and replay does not need it."""

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


TWO: Final = (stage(1), stage(2, needs={"ref": "step-1.found"}))
DEEP: Final = (stage(1, needs={"deep": "input.deep"}), stage(2, needs={"ref": "step-1.found"}))
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
}
"""`stuck-...` were recorded before workflows read activity results guardedly: these runs come loose today."""

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


STATUS: Final = {"asked-when-told": done, "asked-at-the-deadline": still_at_it, "stuck-on-an-asked-message": unsaid}
"""What the partner says when it is asked, in the shapes where it can be."""

RECEIPTS: Final = {
    "answered-with-nan": not_a_number,
    "stuck-on-an-answered-code": numbered,
    "answered-with-a-surrogate": half_an_emoji,
}
"""What the partner answers a call with, in the shapes where that is more than an id of the work."""


async def start_loosely(client: Client, *stages: Stage, id: str) -> Handle:  # noqa: A002
    """Start a run whose stages have an unknown field, and whose input is nested 100 levels deep."""
    written = [{**asdict(stage), "onTimeout": "skip"} for stage in stages]
    run = {"pipeline": {"name": "testing", "stages": written}, "input": {"deep": nested(100)}}
    return await client.start_workflow(PIPELINE_WORKFLOW, run, id=id, task_queue=QUEUE, result_type=PipelineResult)


async def record(env: WorkflowEnvironment, name: str) -> str:
    stages, script = SHAPES[name]
    partner = ScriptedPartner(RECEIPTS.get(name), STATUS.get(name))
    async with working(env.client, partner):
        handle = await (start_loosely if name in UNFINISHED else start)(env.client, *stages, id=name)
        await script(handle, partner)
        if not name.startswith("stuck-") and name not in UNFINISHED:
            with contextlib.suppress(WorkflowFailureError):  # as the shape's name says
                await result_of(handle)
        history = (await handle.fetch_history()).to_json()
        return STACK_TRACE.sub(r'\1""', history)


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BINARIES / "temporal"), identity="recorder", dev_server_log_level="error"
    ) as env:
        for name in SHAPES:
            file = FOLDER / f"{name}.json"
            if not file.exists():
                file.write_text(await record(env, name) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
    end_process(0)
