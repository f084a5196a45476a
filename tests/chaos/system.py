"""The system under fire: Temporal, the store, two receivers and two workers as processes, with proxies between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from temporalio.client import Client

from activities.callback_urls import CallbackURLs
from activities.finding import type_of
from activities.store import migrations
from activities.store.database import Database
from receiver.cli.demo.processes import LocalProcess, Processes, free_port
from receiver.cli.demo.stack import local_environment, temporal_server
from tests.chaos.plan import StoreKind
from tests.chaos.tcp_proxy import Streams, TcpProxy
from tests.parts.polling import until
from tests.parts.temporal import LAZY
from tests.stores import Postgres
from workflows.finding import ATTRIBUTES

PARTNERS: Final = ("sandbox", "bank", "cards")
WEBS: Final = ("web-1", "web-2")
WORKERS: Final = ("worker-1", "worker-2")
TERM_GRACE: Final = 40.0
"""Seconds after SIGTERM: a worker waits 20 s for calls in flight."""

ROOT: Final = Path(__file__).parents[2]
SPAWNED: Final = b"spawn_main"


@dataclass
class Part:
    """A process that is started again with the same command."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    process: LocalProcess | None = None
    starts: int = 0

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self.process is not None
        return self.process.process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has not ended."""
        return self.process is not None and self.process.process.poll() is None


@dataclass(frozen=True)
class Setting:
    """What a system consists of.

    store: the kind. webs, workers: how many. several: whether the second receiver has two uvicorn processes.
    web, worker: the defect that `tests.chaos.broken` puts into the receivers or the workers, or "".
    """

    store: StoreKind
    webs: int = 2
    workers: int = 2
    several: bool = True
    web: str = ""
    worker: str = ""


@dataclass
class System:
    """The running system. resets: the workflow ids of the runs that were reset."""

    setting: Setting
    folder: Path
    env: dict[str, str]
    processes: Processes
    postgres: Postgres | None = None
    database: Database | None = None
    store_proxy: TcpProxy | None = None
    temporal_proxies: dict[str, TcpProxy] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    doors: dict[str, str] = field(default_factory=dict)
    resets: set[str] = field(default_factory=set)
    client: Client = field(init=False)

    @property
    def urls(self) -> CallbackURLs:
        """Where callback URLs are made and read."""
        return CallbackURLs(self.env["PUBLIC_URL"], [self.env["CALLBACK_KEYS"]])

    # --- parts

    def start(self, name: str, **changes: str) -> None:
        """Start a part that does not run. changes: variables for this time; SHIFT puts its clock so many seconds on."""
        part = self.parts[name]
        part.starts += 1
        command = list(part.command)
        if "SHIFT" in changes:
            command = [sys.executable, "-m", "tests.chaos.shifted", *command[-1:]]
        part.process = self.processes.start(f"{name}.{part.starts}", command, {**part.env, **changes})

    async def ready(self, name: str) -> None:
        """Wait until a part that was started works."""
        part = self.parts[name]
        assert part.process is not None
        log = part.process.log

        async def works() -> bool:
            assert part.is_running, f"{name} has ended: {log.read_text('utf-8', 'replace')[-3000:]}"
            if name == "temporal":
                return await self._temporal_answers()
            if name in self.doors:
                return await answers(f"{self.doors[name]}/healthz")
            return "started task_queue" in log.read_text("utf-8", "replace")

        await until(works, f"{name} is ready")

    async def _temporal_answers(self) -> bool:
        try:
            async with asyncio.timeout(5):
                if not hasattr(self, "client"):
                    self.client = await Client.connect(self.env["TEMPORAL_ADDRESS"])
                await self.client.service_client.check_health()
        except Exception:  # of whatever kind: it is asked again
            return False
        return True

    async def end(self, name: str, number: signal.Signals) -> None:
        """Signal a part, and wait for its end. Raises `AssertionError` for a part that has ended by itself."""
        part = self.parts[name]
        assert part.process is not None
        assert part.is_running, f"{name} has ended by itself:\n{part.process.tail()}"
        process = part.process.process
        process.send_signal(number)
        await until(lambda: process.poll() is not None, f"the end of {name}", within=TERM_GRACE)

    def children(self, name: str) -> list[int]:
        """The uvicorn processes of a receiver that has several."""
        pid = self.parts[name].pid
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in pids if SPAWNED in Path(f"/proc/{child}/cmdline").read_bytes()]

    def postgres_pids(self) -> list[int]:
        """The ids of PostgreSQL's processes, the first of them the one that starts the others."""
        assert self.postgres is not None
        pid = self.postgres.pid()
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def ended(self) -> list[str]:
        """The names of the parts that do not run."""
        return [name for name, part in self.parts.items() if not part.is_running]

    def tails(self) -> str:
        """The ends of the logs."""
        return "\n".join(
            f"--- {part.process.name}\n{part.process.tail()}" for part in self.parts.values() if part.process
        )


async def answers(url: str) -> bool:
    """Whether a GET is answered 200."""
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        try:
            return (await http.get(url)).status_code == 200
        except httpx.TransportError:
            return False


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Signal processes; those that have ended meanwhile are left out."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


@asynccontextmanager
async def system(folder: Path, setting: Setting, partner_port: int) -> AsyncIterator[System]:
    """Start everything but the partner, and end it when the block ends, whatever happens in it."""
    env = local_environment(
        folder,
        address=f"127.0.0.1:{free_port()}",
        public_port=free_port(),
        sandbox_url=f"http://127.0.0.1:{partner_port}",
        partners=",".join(PARTNERS),
    )
    env["PYTHONPATH"] = str(ROOT)
    env["PYTHONFAULTHANDLER"] = "1"
    async with AsyncExitStack() as stack:
        # Without a grace: what they leave is looked at before, and their ends are faults of the plan.
        processes = stack.enter_context(Processes(folder, grace=0.0))
        made = System(setting, folder, env, processes)
        stack.callback(_thaw, made)
        await _add_store(made, stack)
        await _add_temporal(made, stack)
        _add_stagehook(made)
        for name in (*_webs(setting), *_workers(setting)):
            made.start(name)
        for name in (*_webs(setting), *_workers(setting)):
            await made.ready(name)
        yield made


def _webs(setting: Setting) -> Sequence[str]:
    return WEBS[: setting.webs]


def _workers(setting: Setting) -> Sequence[str]:
    return WORKERS[: setting.workers]


def _thaw(made: System) -> None:
    """Let stopped processes go on: they could not end otherwise."""
    pids = [part.pid for part in made.parts.values() if part.is_running]
    children = [child for name in made.doors if made.parts[name].is_running for child in made.children(name)]
    signal_all([*pids, *children], signal.SIGCONT)


async def _add_store(made: System, stack: AsyncExitStack) -> None:
    if made.setting.store == "none":
        return
    if made.setting.store == "sqlite":
        url = f"sqlite:///{made.folder}/deliveries.db"
        made.env["DATABASE_URL"] = url
    else:
        url = await _add_postgres(made, stack)
    made.database = Database(url)
    await asyncio.to_thread(migrations.upgrade, made.database)


async def _add_postgres(made: System, stack: AsyncExitStack) -> str:
    """Start PostgreSQL with a proxy before it, and return the URL of a database that does not use the proxy."""
    # Not below the folder: a server that root starts runs as another user, and a socket's path is short.
    home = stack.enter_context(tempfile.TemporaryDirectory(prefix="stagehook-chaos-"))
    made.postgres = postgres = await asyncio.to_thread(Postgres, Path(home) / "data")
    stack.callback(_end_postgres, made)
    socket = str(postgres.folder / ".s.PGSQL.5432")

    async def connect() -> Streams:
        return await asyncio.open_unix_connection(socket)

    made.store_proxy = proxy = TcpProxy(connect)
    await stack.enter_async_context(proxy.serving())
    url = await asyncio.to_thread(postgres.new_database)
    name = Database(url).url.database
    made.env["DATABASE_URL"] = f"postgres://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable"
    return url


def _end_postgres(made: System) -> None:
    assert made.postgres is not None
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a fault may have ended it
        signal_all(made.postgres_pids(), signal.SIGCONT)
        made.postgres.end()


async def _add_temporal(made: System, stack: AsyncExitStack) -> None:
    port = int(made.env["TEMPORAL_ADDRESS"].rpartition(":")[2])
    attributes = [word for key in ATTRIBUTES for word in ("--search-attribute", f"{key.name}={type_of(key)}")]
    command = [*temporal_server(port, made.folder / "temporal.db"), *attributes]
    made.parts["temporal"] = Part("temporal", command, {**made.env, **LAZY})
    made.start("temporal")

    async def connect() -> Streams:
        return await asyncio.open_connection("127.0.0.1", port)

    for name in (*_webs(made.setting), "workers"):
        made.temporal_proxies[name] = proxy = TcpProxy(connect, listens=name in WEBS)
        await stack.enter_async_context(proxy.serving())
    await made.ready("temporal")


def _add_stagehook(made: System) -> None:
    setting = made.setting
    for place, name in enumerate(_webs(setting)):
        port = made.env["PORT"] if place == 0 else str(free_port())
        made.doors[name] = f"http://127.0.0.1:{port}"
        several = {"WEB_CONCURRENCY": "2"} if setting.several and place == 1 else {}
        packs = {"PACK_DELIVERIES": str(place % 2)}  # the store has both forms, and each receiver sends both
        env = {**made.env, "PORT": port, "TEMPORAL_ADDRESS": _through(made, name), **several, **packs}
        made.parts[name] = Part(name, _command("serve", setting.web), env)
    for name in _workers(setting):
        env = {**made.env, "TEMPORAL_ADDRESS": _through(made, "workers")}
        made.parts[name] = Part(name, _command("worker", setting.worker), env)


def _through(made: System, name: str) -> str:
    return f"127.0.0.1:{made.temporal_proxies[name].port}"


def _command(word: str, defect: str) -> list[str]:
    if defect:
        return [sys.executable, "-m", "tests.chaos.broken", defect, word]
    return [str(Path(sys.executable).with_name("stagehook")), word]
