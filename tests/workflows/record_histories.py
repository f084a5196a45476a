"""Records tests/histories/*.json on the real server: `python -m tests.workflows.record_histories`.

One history for every shape that runs have in production. Record anew only to add a shape: an old history is the promise
that a run which began under it goes on under today's code.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from receiver.cli import end_process
from tests.conftest import BINARIES
from tests.support import Handle, ScriptedPartner, call_back, result_of, stage, start, waiting, working
from workflows.contract import ADVANCE_STAGE, Answer, Question, Stage

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


async def say_nothing(handle: Handle, partner: ScriptedPartner) -> None:
    pass


TWO: Final = (stage(1), stage(2, needs={"ref": "step-1.found"}))
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
}


async def still_at_it(question: Question) -> Answer:
    return Answer("progress")


async def done(question: Question) -> Answer:
    return Answer("succeeded")


STATUS: Final = {"asked-when-told": done, "asked-at-the-deadline": still_at_it}
"""What the partner says when it is asked, in the shapes where it can be."""


async def record(env: WorkflowEnvironment, name: str) -> str:
    stages, script = SHAPES[name]
    partner = ScriptedPartner(status=STATUS.get(name))
    async with working(env.client, partner):
        handle = await start(env.client, *stages, id=name)
        await script(handle, partner)
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
