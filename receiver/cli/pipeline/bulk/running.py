"""Run a bulk command: list, ask, act on one run after another, and say what became of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from activities.runs import Runs
from activities.target import Target
from receiver.cli.errors import Exit
from receiver.cli.output import confirm_first, note, on_signals
from receiver.cli.pipeline.bulk import BulkOptions
from receiver.cli.pipeline.bulk.acting import Acting
from receiver.cli.pipeline.bulk.planning import BulkPlan, check_bulk_options, new_plan, plan_of_rest
from receiver.cli.pipeline.bulk.state import BulkItem, BulkResult, BulkState, StateFile, read_state, refuse_existing
from receiver.cli.pipeline.bulk.telling import Report, tell_plan, what_is_done
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.tables import progress_bar
from receiver.cli.terminal import printable

ACTED_ON_AT_ONCE: Final = 16
"""Runs that are acted on together, where one takes longer than the rate allows."""

MOST_UNREACHED: Final = 5
"""Runs in a row for which Temporal or a worker did not answer, after which the command stops."""


async def act_on_many(options: BulkOptions) -> int:
    """Act on all the runs that the options choose, or that their state file has left. Raises `CommandError`."""
    if options.begun:
        return await _go_on(options)
    check_bulk_options(options)
    if options.file:
        refuse_existing(Path(options.file))
    runs = await connect_runs()
    plan = await new_plan(runs, options)
    if not _agreed(plan, options):
        return Exit.OK
    path = Path(options.file) if options.file else _free_path(plan)
    with closing(StateFile.create(path, plan.request, plan.items)) as file:
        return await _act(runs, plan, file, options)


async def _go_on(options: BulkOptions) -> int:
    path = Path(options.begun)
    if options.dry_run:
        return await _act_on_rest(read_state(path), None, options)
    file, state = StateFile.reopen(path)
    with closing(file):
        return await _act_on_rest(state, file, options)


async def _act_on_rest(state: BulkState, file: StateFile | None, options: BulkOptions) -> int:
    runs = await connect_runs()
    plan = plan_of_rest(state, options, Target.of_client(runs.client))
    if not plan.items:
        note(printable(f"{options.begun} has nothing left to do"))
        return Exit.OK
    return await _act(runs, plan, file, options) if _agreed(plan, options) and file else Exit.OK


def _agreed(plan: BulkPlan, options: BulkOptions) -> bool:
    """Print the plan, and ask; False for a dry run. Raises `CommandError` without a terminal or --yes."""
    tell_plan(plan, as_json=options.as_json and options.dry_run)
    if not (options.dry_run or options.yes):
        confirm_first(what_is_done(plan), declined="nothing was done")
    return not options.dry_run


def _free_path(plan: BulkPlan) -> Path:
    """A name for the state file in the current folder that no file has."""
    name = f"bulk-{plan.request.action}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    paths = (Path(f"{name}{f'-{number}' if number > 1 else ''}.jsonl") for number in range(1, 1000))
    return next((path for path in paths if not path.exists()), Path(f"{name}.jsonl"))


async def _act(runs: Runs, plan: BulkPlan, file: StateFile, options: BulkOptions) -> int:
    note(printable(f"state: {file.path}"))
    report = Report(plan, file.path, as_json=options.as_json)
    work = BulkWork(Acting(runs, plan.request, bool(options.begun)), file, report)
    on_signals(work.stop_or_end, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        with progress_bar(plan.request.action, len(plan.items)) as work.advance:
            await work.act_on_all(plan.items, options.rate)
    finally:
        report.tell_end()
    return report.exit_code(is_interrupted=work.is_interrupted)


class BulkWork:
    """Acts on runs at a rate, until all are done, or it is stopped: by a signal, or because nothing is reached."""

    def __init__(self, acting: Acting, file: StateFile, report: Report) -> None:
        self._acting = acting
        self._file = file
        self._report = report
        self._stop = asyncio.Event()
        self._task = asyncio.current_task()
        self._unreached = 0
        self._on_the_way = 0
        self.is_interrupted = False
        self.advance: Callable[[], object] = bool

    def stop_or_end(self) -> None:
        """Begin no other action; the second time, do not wait for those that have begun."""
        if self.is_interrupted and self._task:
            self._task.cancel()
            return
        self.is_interrupted = True
        self._stop.set()
        what = f"no other action begins, and {self._on_the_way} on the way are waited for"
        note(f"stopping: {what}; the next signal stops at once")

    async def act_on_all(self, items: Sequence[BulkItem], rate: float) -> None:
        """Act on the items, `rate` a second at most. Raises `OSError` if a result cannot be written."""
        free, loop = asyncio.Semaphore(ACTED_ON_AT_ONCE), asyncio.get_running_loop()
        tasks, due = set[asyncio.Task[None]](), loop.time()
        for item in items:
            await self._until(due)
            await free.acquire()
            if self._stop.is_set():
                break
            due = max(due, loop.time()) + 1 / rate
            task = asyncio.create_task(self._act_on(item))
            task.add_done_callback(lambda _: free.release())
            tasks.add(task)
        await asyncio.gather(*tasks)

    async def _until(self, due: float) -> None:
        """Wait until this time of the loop, or the stop."""
        try:
            async with asyncio.timeout_at(due):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _act_on(self, item: BulkItem) -> None:
        self._on_the_way += 1
        try:
            result = await self._acting.act(item)
            self._record(item, result)
        except BaseException:
            self._stop.set()
            raise
        finally:
            self._on_the_way -= 1

    def _record(self, item: BulkItem, result: BulkResult) -> None:
        self._file.record(result)
        self._report.add(item, result)
        self.advance()
        self._unreached = self._unreached + 1 if result.result in {"unsure", "unreached"} else 0
        if self._unreached >= MOST_UNREACHED and not self._stop.is_set():
            self._stop.set()
            note(f"stopping: {MOST_UNREACHED} runs in a row could not be reached")
