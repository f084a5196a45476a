"""A receiver that shows its metrics, and its metrics as numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from receiver.app import create_app
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, URLS, partners


def read(text: str) -> dict[tuple[str, ...], float]:
    """The samples by name and the values of their labels."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@asynccontextmanager
async def serving(signals: Signals, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(URLS, partners(), signals, **options)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http
