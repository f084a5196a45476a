"""The worker's port: /metrics for whom it concerns, and /healthz, which says whether the worker polls."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import httpx
import pytest
from prometheus_client.core import Metric
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.environment import SettingsError
from activities.metrics_settings import MetricsSettings
from activities.settings import Settings
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import sample_partners
from receiver.cli.worker.endpoint import serving, worker_app
from receiver.cli.worker.health import WorkerHealth
from receiver.scraping import gauge
from tests.parts.temporal import serving as temporal_server
from tests.support import KEY, RUN_TIMEOUT

SETTINGS = Settings.from_env(
    {
        "PUBLIC_URL": "http://127.0.0.1:8000",
        "CALLBACK_KEYS": KEY,
        "PARTNERS": "bank",
        **sample_partners("http://x.test:1"),
    }
    | {"BANK_URL": "http://127.0.0.1:1"}
)


def collect() -> list[Metric]:
    return [gauge("stock", "Stock.", 7)]


def asking(token: str | None = "", health: WorkerHealth | None = None) -> httpx.AsyncClient:
    app = worker_app(token, collect, health or WorkerHealth())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker")


@pytest.mark.parametrize(
    ("token", "given", "status"),
    [("", "", 200), (None, "", 404), ("t" * 16, "", 401), ("t" * 16, "Bearer " + "t" * 16, 200)],
)
async def test_a_workers_metrics_are_shown_to_whom_they_concern(token: str | None, given: str, status: int) -> None:
    async with asking(token) as http:
        answer = await http.get("/metrics", headers={"Authorization": given})
    assert answer.status_code == status
    assert ("stock 7.0" in answer.text) is (status == 200)


async def test_other_paths_and_methods_are_refused() -> None:
    async with asking() as http:
        statuses = [(await http.get("/")).status_code, (await http.post("/metrics")).status_code]
    assert statuses == [404, 405]


async def test_a_worker_is_healthy_while_it_polls(real: WorkflowEnvironment) -> None:
    health = WorkerHealth()
    async with asking(health=health) as http:
        answers = [await http.get("/healthz")]
        async with health.polling(real.client):
            answers.append(await http.get("/healthz"))
            health.stopped("the worker is stopping")
            answers.append(await http.get("/healthz"))
        answers.append(await http.get("/healthz"))
    assert [(answer.status_code, answer.json().get("why", "")) for answer in answers] == [
        (503, "it has not reached Temporal yet"),
        (200, ""),
        (503, "the worker is stopping"),
        (503, "the worker has stopped"),
    ]


async def test_an_outage_makes_the_worker_unhealthy_until_it_ends() -> None:
    """Not at once: a short outage needs no restart."""
    health = WorkerHealth(ping_every=0.05, away_after=1.0)
    port = free_port()
    async with asyncio.timeout(3 * RUN_TIMEOUT):
        client = await Client.connect(f"127.0.0.1:{port}", lazy=True)
        async with health.polling(client):
            assert health.finding == ""
            while not health.finding.startswith("Temporal has not answered for"):
                await asyncio.sleep(0.02)
            with temporal_server(port=port):
                while health.finding:
                    await asyncio.sleep(0.02)


async def test_the_port_answers_while_the_block_runs(unused_port: int) -> None:
    settings = replace(SETTINGS, metrics=MetricsSettings(port=unused_port))
    url = f"http://127.0.0.1:{unused_port}/metrics"
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(RUN_TIMEOUT):
        async with serving(worker_app("", collect, WorkerHealth()), settings):
            while not await answers(http, url):
                await asyncio.sleep(0.02)
        assert not await answers(http, url)


async def answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_port_that_is_taken_is_a_fault_of_the_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = replace(SETTINGS, metrics=MetricsSettings(port=taken.getsockname()[1]))
        with pytest.raises(SettingsError, match=r"METRICS_PORT cannot be used .*: choose another port"):
            async with serving(worker_app("", collect, WorkerHealth()), settings):
                pass
