"""Receivers as processes of their own, on a real store and a real Temporal."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from activities.callback_urls import CallbackURLs, Claims
from activities.store.database import Database
from receiver.cli.demo.processes import bare_environment, free_port
from receiver.cli.demo.stack import stagehook_command
from tests.local_stack import running
from tests.parts.outages import STARTS_WITHIN
from tests.support import KEY, Handle

SOON = 40.0
"""Seconds. A delivery whose sender was killed is taken up when its lease of ten seconds is over."""


class Web:
    """Where the receivers of a test listen, and with what."""

    def __init__(self, database: Database, client: Client, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "web.log"
        config = folder / "temporal.toml"
        config.touch()
        self.env = {
            **bare_environment(),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PUBLIC_URL": self.url,
            "PORT": str(self.port),
            "CALLBACK_KEYS": KEY,
            "PARTNERS": "sandbox",
            "DATABASE_URL": database.url.render_as_string(hide_password=False),
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "TEMPORAL_NAMESPACE": client.namespace,
            "TEMPORAL_CONFIG_FILE": str(config),
        }

    @contextmanager
    def serving(self, command: list[str] | None = None, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        with running(command or stagehook_command("serve"), {**self.env, **env}, self.log) as process:
            self._wait()
            yield process

    def dying(self, when: str, **env: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """A receiver that kills itself around its first signal; see `tests.dying_receiver`."""
        return self.serving([sys.executable, "-m", "tests.dying_receiver", when], **env)

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/healthz", trust_env=False)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log.read_text())

    def callback_url(self, handle: Handle, **changes: Any) -> str:
        claims: dict[str, Any] = {
            "workflow_id": handle.id,
            "chain_id": handle.first_execution_run_id,
            "stage": 1,
            "attempt": 1,
            "partner": "sandbox",
            "issued_at": 1_790_000_000,
            "expires_at": 4_000_000_000,
            **changes,
        }
        return CallbackURLs(self.url, [KEY]).issue(Claims(**claims))
