"""A trial: runs on the system under fire, with the hostile partner, and the evidence that they leave."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHistory
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError
from temporalio.worker import Replayer

from activities.environment import Environment
from activities.partners import load_partners
from activities.store.database import Database
from activities.worker import WORKFLOWS, workflow_runner
from receiver.cli.demo.processes import free_port
from receiver.deliveries.archive import Archive
from tests.chaos.evidence import Evidence, Kept, Window
from tests.chaos.ledger import Ledger
from tests.chaos.partner import HostilePartner
from tests.chaos.plan import CALL_TIMEOUT, Habit, PlannedRun
from tests.chaos.system import PARTNERS, Setting, System, system
from tests.parts.polling import until
from workflows.contract import OUTCOMES, PIPELINE_WORKFLOW

QUEUE: Final = "stagehook"
HOUR: Final = 3600.0
RETRIED: Final = {"timeout": 2.0, "on_timeout": "retry", "attempts": 60, "retry_pause": 0.5}
"""Of a stage that calls again. On a busy machine the growing pauses let a result come before the next call."""
ENDS_WITHIN: Final = 600.0
"""Seconds after the last fault in which every run must end: the machine may be busy, and the queue long."""

ASKED_WITHIN: Final = 5.0
"""Seconds for a query of `outcomes`."""

SAMPLE_EVERY: Final = 1.0
SECRETS: Final = ("CALLBACK_KEYS", "BANK_SECRET", "BANK_KEY", "CARDS_KEY")


@dataclass
class Trial:
    """started: workflow ids of the runs. windows: the faults so far. seen: answers to `outcomes`."""

    system: System
    partner: HostilePartner
    started: list[str] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    seen: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def client(self) -> Client:
        """Temporal's, past the proxies."""
        return self.system.client

    async def start_run(self, run: PlannedRun) -> None:
        """Start a run, as soon as Temporal takes it."""

        async def start() -> bool:
            try:
                await self.client.start_workflow(PIPELINE_WORKFLOW, run_input(run), id=run.id, task_queue=QUEUE)
            except WorkflowAlreadyStartedError:
                return True  # an answer was lost
            except (RPCError, RuntimeError):
                return False
            return True

        self.started.append(run.id)
        await until(start, f"the start of {run.id}", pause=0.3)

    async def watch(self) -> None:
        """Ask runs for their outcomes, until this is cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_EVERY)
            await self.look()

    async def look(self) -> None:
        """Ask the latest runs for their outcomes."""
        for id_ in self.started[-2:]:
            if (found := await self._outcomes(id_)) is not None:
                self.seen.append((id_, found))

    async def _outcomes(self, workflow_id: str) -> Any:
        try:
            async with asyncio.timeout(ASKED_WITHIN):
                return await self.client.get_workflow_handle(workflow_id).query(OUTCOMES)
        except (RPCError, RuntimeError, TimeoutError):
            return None

    # --- the end

    async def finish(self) -> None:
        """Wait until every run has ended, nothing is sent and nothing is queued; then have everything sent again."""
        await until(self.all_ended, "the end of every run", within=ENDS_WITHIN, pause=0.5)
        await self._quiet()
        await self.partner.repeat()
        await self._quiet()

    async def _quiet(self) -> None:
        await until(lambda: self.partner.is_idle, "the partner's last callback", within=ENDS_WITHIN)
        await until(lambda: not self.pending(), "the last of the queue", within=ENDS_WITHIN, pause=0.5)

    async def all_ended(self) -> bool:
        return all([await self._has_ended(id_) for id_ in self.started])

    async def _has_ended(self, workflow_id: str) -> bool:
        described = await self.client.get_workflow_handle(workflow_id).describe()
        return described.status is not WorkflowExecutionStatus.RUNNING

    def pending(self) -> int:
        """How many deliveries wait in the store."""
        if self.system.database is None:
            return 0
        with self.system.database.begin() as connection:
            count = sa.text("SELECT count(*) FROM deliveries WHERE fate = 'pending' OR due_at IS NOT NULL")
            return int(connection.execute(count).scalar_one())

    async def evidence(self) -> Evidence:
        """What was recorded of the whole trial."""
        lineages, branches = {}, {}
        for id_ in self.started:
            lineages[id_] = await self._lineage(id_)
            ended = await self._branches(id_, {history.run_id for history in lineages[id_]})
            if ended:
                branches[id_] = ended
        asked = {id_ for id_, _ in self.seen}
        after = {id_: found for id_ in asked if (found := await self._outcomes(id_)) is not None}
        proxies = self.system.temporal_proxies
        return Evidence(
            entries=self.partner.ledger.entries,
            calls=list(self.partner.calls.values()),
            lineages=lineages,
            branches=branches,
            resets=self.system.resets,
            kept=kept_in(self.system.database) if self.system.database else None,
            windows=self.windows,
            sent={name: proxies[name].ids for name in self.system.doors},
            secrets=[self.system.env[name] for name in SECRETS],
            logs={log.name: log.read_text("utf-8", "replace") for log in self.system.folder.glob("w*.log")},
            ended=self.system.ended(),
            before=self.seen,
            after=after,
        )

    async def _lineage(self, workflow_id: str) -> list[WorkflowHistory]:
        """The executions that led to the latest one, in order."""
        found = [await self.client.get_workflow_handle(workflow_id).fetch_history()]
        while before := found[0].events[0].workflow_execution_started_event_attributes.continued_execution_run_id:
            found.insert(0, await self._history(workflow_id, before))
        return found

    async def _branches(self, workflow_id: str, known: set[str]) -> list[WorkflowHistory]:
        if workflow_id not in self.system.resets:
            return []
        query = f"WorkflowId = '{workflow_id}'"
        ids = {run.run_id async for run in self.client.list_workflows(query)} - known
        return [await self._history(workflow_id, run_id) for run_id in sorted(ids)]

    async def _history(self, workflow_id: str, run_id: str) -> WorkflowHistory:
        return await self.client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()


def kept_in(database: Database) -> list[Kept]:
    """The rows of a store."""
    with database.begin() as connection:
        rows = connection.execute(sa.text("SELECT id, request_id, callback IS NULL AS bare FROM deliveries"))
        more = {row.id: (row.request_id or "", bool(row.bare)) for row in rows}
    kept = []
    for delivery in Archive(database).every():
        request_id, is_bare = more[delivery.id]
        kept.append(Kept(delivery, request_id, is_bare and delivery.verdict == "accepted"))
    return kept


def run_input(run: PlannedRun) -> dict[str, Any]:
    """The input of a run, as any client may write it."""
    stages = [_stage(number, partner, habit) for number, (partner, habit) in enumerate(run.stages, start=1)]
    return {"pipeline": {"name": "chaos", "stages": stages}, "input": {"full_name": "ada lovelace", "iban": "DE00"}}


def _stage(number: int, partner: str, habit: Habit) -> Mapping[str, Any]:
    return {
        "number": number,
        "name": f"step-{number}",
        "partner": partner,
        "timeout": HOUR,
        "call_timeout": CALL_TIMEOUT,
        "needs": {"full_name": "input.full_name", "iban": "input.iban"},
        **(RETRIED if habit.retried else {}),
    }


@asynccontextmanager
async def trial(
    folder: Path, setting: Setting, habits: Mapping[tuple[str, int], Habit], seed: int = 0
) -> AsyncIterator[Trial]:
    """Start the system and the partner, and end both when the block ends."""
    port = free_port()
    async with system(folder, setting, port) as running:
        loaded = load_partners([name for name in PARTNERS if name != "sandbox"], Environment(running.env))
        schemes = {name: partner.signature for name, partner in loaded.items() if partner.signature}
        ledger = Ledger(folder / "ledger.jsonl")
        with contextlib.closing(ledger):
            partner = HostilePartner(running.urls, schemes, ledger, habits, seed)
            partner.doors = list(running.doors.values())
            async with partner.serving(port):
                yield Trial(running, partner)


@asynccontextmanager
async def during(trial: Trial, place: str, fault: AbstractAsyncContextManager[None]) -> AsyncIterator[None]:
    """The time of a fault: the block begins when it has fired. Its window is part of the evidence."""
    began = time.time()
    try:
        async with fault:
            yield
    finally:
        trial.windows.append(Window(place, began, time.time()))


async def unreplayable(evidence: Evidence) -> list[str]:
    """Histories that today's code does not replay."""
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=workflow_runner())
    found = []
    for id_, history in evidence.executions:
        replayed = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if replayed.replay_failure is not None:
            found.append(f"unreplayable: {id_}: {replayed.replay_failure}")
    return found
