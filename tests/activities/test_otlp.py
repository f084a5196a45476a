"""Pushing metrics: what a collector gets, and that a collector that is away costs nothing but a line in the log."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric

from activities.builds import Build
from activities.metrics_settings import PushSettings
from activities.otlp import LAST_PUSH_SECONDS, Pusher
from receiver.cli.demo.processes import free_port
from tests.parts.collectors import Collector, collecting
from tests.support import RUN_TIMEOUT

OFTEN = PushSettings("", 0.02)
SELDOM = PushSettings("acme", 3600.0)


class Shop:
    """Some metrics of a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sales = Counter("shop_sales", "Sales.", ["kind"], registry=self.registry)
        self.stock = Gauge("shop_stock", "Stock.", registry=self.registry)
        self.waits = Histogram("shop_wait_seconds", "Waits.", buckets=(0.1, 1.0), registry=self.registry)

    async def gather(self) -> list[Metric]:
        return list(self.registry.collect())


@contextmanager
def pushing_to(monkeypatch: pytest.MonkeyPatch, url: str, headers: str = "") -> Iterator[None]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    yield


async def until(collector: Collector, pushes: int) -> None:
    async with asyncio.timeout(RUN_TIMEOUT):
        while len(collector.pushes) < pushes:
            await asyncio.sleep(0.01)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "stagehook.metrics"]


async def test_a_collector_gets_what_a_scraper_would_see(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    shop.sales.labels("book").inc(3)
    shop.stock.set(7)
    for seconds in (0.05, 0.5, 0.6, 9.0):
        shop.waits.observe(seconds)
    with collecting() as collector, pushing_to(monkeypatch, collector.url, "Authorization=Bearer%20s3cret-key"):
        async with Pusher(SELDOM, "web", Build("0a1b2c3"), shop.gather).running():
            pass
    assert collector.total("shop_sales", kind="book") == 3
    assert collector.total("shop_stock") == 7
    assert collector.total("shop_wait_seconds") == 4
    assert collector.buckets("shop_wait_seconds") == [1, 2, 1]
    assert collector.services == {"acme"}
    assert [push["authorization"] for push in collector.pushes] == ["Bearer s3cret-key"]


async def test_a_process_pushes_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last push has what was counted since the one before."""
    shop = Shop()
    with collecting() as collector, pushing_to(monkeypatch, collector.url):
        async with Pusher(OFTEN, "worker", Build(), shop.gather).running():
            await until(collector, 3)
            shop.sales.labels("book").inc(5)
    assert collector.total("shop_sales", kind="book") == 5
    assert collector.services == {"stagehook-worker"}


@pytest.mark.parametrize("status", [0, 401, 500], ids=["closed", "refusing", "broken"])
async def test_an_outage_of_the_collector_is_two_log_lines(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop, port = Shop(), free_port()
    caplog.set_level(logging.INFO)
    tries = 0

    async def gather() -> list[Metric]:
        nonlocal tries
        tries += 1
        return await shop.gather()

    with pushing_to(monkeypatch, f"http://127.0.0.1:{port}", "key=s3cret-of-ours"):
        async with Pusher(OFTEN, "web", Build(), gather).running(), asyncio.timeout(RUN_TIMEOUT):
            with collecting(port) as collector:
                collector.status = status
                while not status and tries < 1:
                    await asyncio.sleep(0.01)
            while tries < 3:
                await asyncio.sleep(0.01)
            assert lines(caplog) == ["metrics-not-pushed"]
            with collecting(port) as collector:
                while "metrics-pushed-again" not in lines(caplog):
                    await asyncio.sleep(0.01)
    assert lines(caplog)[:2] == ["metrics-not-pushed", "metrics-pushed-again"]
    assert "s3cret" not in caplog.text


async def test_a_mute_collector_holds_up_no_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pushing_to(monkeypatch, url):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
            began = time.monotonic()
            async with Pusher(SELDOM, "web", Build(), Shop().gather).running():
                pass
    assert time.monotonic() - began < 3 * LAST_PUSH_SECONDS
    assert lines(caplog) == ["metrics-not-pushed"]
