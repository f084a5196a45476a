"""A system whose web and worker are replaced by another version's while runs are in flight."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import sqlalchemy as sa
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.partners import load_partners
from activities.store.database import Database
from receiver.cli.demo.processes import LocalProcess, Processes, free_port
from receiver.cli.demo.stack import local_environment, temporal_server
from receiver.deliveries.archive import Archive
from tests.parts.polling import WITHIN, until
from tests.versions.partner import Door, RestingPartner
from tests.versions.trees import Tree
from workflows.contract import PIPELINE_WORKFLOW, PROGRESS

CRASH: Final = re.compile(r"Traceback \(most recent call last\)[\s\S]{,2000}")
FAILED_TASK: Final = re.compile(r".*(?:Failed handling activation|Failing workflow task|[Nn]ondetermin).*")
"""In a worker's log: a task's second failure is in no history. Its other tracebacks are calls that are tried again."""

SUGGEST_CONTINUE_AS_NEW: Final = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=40")
"""So many events: talkative runs continue as new, so that one version takes over what the other has carried."""

QUEUE: Final = "stagehook"
SAMPLES: Final = ("identity", "bank", "esign", "cards")
"""The sample partners that both versions know."""

RELEASE: Final = ("db", "upgrade")
"""What the Procfile's `release:` runs before the processes of a deploy or a roll-back start."""


@dataclass(frozen=True)
class Versions:
    """Which version runs: one web process or two side by side, and the worker."""

    webs: Sequence[Tree]
    worker: Tree


@dataclass
class Deployment:
    """Temporal, the store and the partner, which stay, and the web and worker processes, which do not.

    webs: the running web processes, each with its door. killing: processes are killed, not stopped.
    """

    env: dict[str, str]
    folder: Path
    processes: Processes
    urls: CallbackURLs
    partner: RestingPartner
    client: Client = field(init=False)
    temporal: LocalProcess = field(init=False)
    worker: tuple[Tree, LocalProcess] | None = None
    webs: list[tuple[Tree, LocalProcess, Door]] = field(default_factory=list)
    killing: bool = False
    started: int = 0

    @property
    def archive(self) -> Archive:
        """The store, as operators look at it."""
        return Archive(Database(self.env["DATABASE_URL"]))

    def count(self, fate: str) -> int:
        """How many deliveries of the store have this fate. It may have only the columns of the old version."""
        query = sa.text("SELECT count(*) FROM deliveries WHERE fate = :fate")
        with Database(self.env["DATABASE_URL"]).begin() as connection:
            return int(connection.execute(query, {"fate": fate}).scalar_one())

    async def start_temporal(self) -> None:
        port = int(self.env["TEMPORAL_ADDRESS"].rpartition(":")[2])
        command = [*temporal_server(port, self.folder / "temporal.db"), *SUGGEST_CONTINUE_AS_NEW]
        self.temporal = self.processes.start("temporal", command, self.env)
        self.client = await until(self._connect, "Temporal")

    async def stop_temporal(self) -> None:
        await ended(self.temporal, signal.SIGKILL)

    async def _connect(self) -> Client | None:
        try:
            return await Client.connect(self.env["TEMPORAL_ADDRESS"])
        except RuntimeError:
            return None

    async def deploy(self, versions: Versions, during: Callable[[], Awaitable[None]] | None = None) -> None:
        """Replace what runs by these versions, with callbacks under way.

        Where a web process is replaced, Temporal is away meanwhile: what one version has kept is sent by the other.
        during: awaited while the worker is stopped, where it is replaced, and before any callback is sent.
        """
        replaces_worker = self.worker is None or self.worker[0] is not versions.worker
        replaces_web = [tree for tree, _, _ in self.webs] != list(versions.webs)
        if replaces_worker and self.worker:
            await self._stop_worker()
        self.partner.prepare_switch()
        if during:
            await during()
        if replaces_web and self.webs:
            await self._have_callbacks_kept()
        else:
            self.partner.switch()
        for tree in dict.fromkeys((*versions.webs, versions.worker)):
            await self.run(tree, *RELEASE)
        if replaces_web:
            await self.replace_webs(versions.webs)
        if self.temporal.process.poll() is not None:
            await self.start_temporal()
        if replaces_worker:
            await self._start_worker(versions.worker)

    async def _have_callbacks_kept(self) -> None:
        """Take Temporal away, and let the web processes that are to be replaced answer callbacks without it."""
        await self.stop_temporal()
        accepted = self.partner.accepted()
        self.partner.switch()
        await until(lambda: self.partner.accepted() > accepted + 2, "callbacks that are kept without Temporal")
        assert self.count("pending") > 0

    async def replace_webs(self, trees: Sequence[Tree]) -> None:
        """Run web processes of these versions, and no others."""
        running = list(self.webs)
        for place, (tree, part, door) in enumerate(running):
            if place >= len(trees) or tree is not trees[place]:
                if place >= len(trees):
                    self.partner.doors.remove(door)
                await ended(part, self._signal)
        self.webs = []
        for place, tree in enumerate(trees):
            if place < len(running) and running[place][0] is tree:
                self.webs.append(running[place])
            else:
                self.webs.append(await self._start_web(tree, place))

    async def _start_web(self, tree: Tree, place: int) -> tuple[Tree, LocalProcess, Door]:
        """Start a web process; the first one listens at PUBLIC_URL, the second one on a port of its own."""
        port = self.env["PORT"] if place == 0 else str(free_port())
        url = f"http://127.0.0.1:{port}"
        doors = [door for door in self.partner.doors if door.url == url]
        door = doors[0] if doors else Door(url)
        door.version = tree.name
        part = self._start(tree, "serve", PORT=port)
        await until(lambda: _answers(f"{url}/healthz"), f"{tree.name} web")
        if not doors:
            self.partner.doors.append(door)
        return tree, part, door

    async def _start_worker(self, tree: Tree) -> None:
        part = self._start(tree, "worker")
        await until(lambda: "started task_queue" in part.log.read_text(), f"{tree.name} worker")
        self.worker = (tree, part)

    async def _stop_worker(self) -> None:
        assert self.worker is not None
        part = self.worker[1]
        part.process.send_signal(self._signal)
        # A stopped worker lets calls in flight finish; a killed one leaves them to the next worker.
        self.partner.release_calls()
        await ended(part, self._signal)

    @property
    def _signal(self) -> signal.Signals:
        return signal.SIGKILL if self.killing else signal.SIGTERM

    def _start(self, tree: Tree, command: str, **changes: str) -> LocalProcess:
        self.started += 1
        env = tree.environment({**self.env, **changes})
        return self.processes.start(f"{self.started}-{tree.name}-{command}", tree.command(command), env)

    async def run(self, tree: Tree, *args: str) -> None:
        """Run a command of that version."""
        command = await asyncio.create_subprocess_exec(
            *tree.command(*args),
            env=tree.environment(self.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(command.communicate(), WITHIN)
        except TimeoutError:
            command.kill()
            raise
        assert command.returncode == 0, said.decode()

    def dead(self) -> list[str]:
        """The parts that have ended by themselves, with the end of their logs."""
        parts = [part for _, part, _ in self.webs] + ([self.worker[1]] if self.worker else [])
        return [f"{part.name} has ended:\n{part.tail()}" for part in parts if part.process.poll() is not None]

    def errors(self) -> list[str]:
        """Tracebacks in the logs of web, and workflow tasks that failed in those of workers."""
        patterns = {"*-serve.log": CRASH, "*-worker.log": FAILED_TASK}
        logs = [(log, pattern) for name, pattern in patterns.items() for log in self.folder.glob(name)]
        found = [(log, pattern.search(log.read_text("utf-8", "replace"))) for log, pattern in logs]
        return [f"{log.name}: {match[0]}" for log, match in found if match]

    # --- runs

    async def start_run(self, workflow_id: str, run_input: Mapping[str, Any]) -> None:
        """Start a run as any client may, by plain JSON."""
        await self.client.start_workflow(PIPELINE_WORKFLOW, run_input, id=workflow_id, task_queue=QUEUE)

    async def progress(self, workflow_ids: Iterable[str]) -> dict[str, Any]:
        """The runs' answers to `progress`, as the running worker gives them."""
        return {id_: await until(partial(self._query, id_), f"progress of {id_}") for id_ in workflow_ids}

    async def _query(self, workflow_id: str) -> Any:
        handle: WorkflowHandle[Any, Any] = self.client.get_workflow_handle(workflow_id)
        try:
            async with asyncio.timeout(10):
                return await handle.query(PROGRESS)
        except (RPCError, TimeoutError):
            return None  # the worker has only just started

    async def histories(self, workflow_id: str) -> list[WorkflowHistory]:
        """Every execution of a run, in order."""
        handle = self.client.get_workflow_handle(workflow_id)
        run_id = first_run_id(await handle.fetch_history())
        found: list[WorkflowHistory] = []
        while run_id:
            found.append(await self.client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history())
            last = found[-1].events[-1]
            run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return found


def first_run_id(history: WorkflowHistory) -> str:
    """The id of the first execution of the chain that this execution belongs to."""
    return history.events[0].workflow_execution_started_event_attributes.first_execution_run_id


@asynccontextmanager
async def deployment(folder: Path, database_url: str) -> AsyncIterator[Deployment]:
    """Start Temporal and the partner; nothing else runs yet, and the store has no tables."""
    partner_port = free_port()
    env = local_environment(
        folder,
        address=f"127.0.0.1:{free_port()}",
        public_port=free_port(),
        sandbox_url=f"http://127.0.0.1:{partner_port}",
        partners=",".join((*SAMPLES, "sandbox")),
    )
    env["DATABASE_URL"] = database_url
    loaded = load_partners(SAMPLES, Environment(env))
    schemes = {name: partner.signature for name, partner in loaded.items() if partner.signature}
    urls = CallbackURLs(env["PUBLIC_URL"], [env["CALLBACK_KEYS"]])
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        partner = RestingPartner(http, urls, schemes)
        with Processes(folder, grace=25.0) as processes:
            async with partner.serving(partner_port):
                system = Deployment(env, folder, processes, urls, partner)
                await system.start_temporal()
                yield system


async def ended(part: LocalProcess, number: signal.Signals) -> None:
    """Signal a process, and wait for its end."""
    part.process.send_signal(number)
    await until(lambda: part.process.poll() is not None, f"the end of {part.name}")


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        try:
            return (await http.get(url)).status_code == 200
        except httpx.TransportError:
            return False
