"""The receiver's process: uvicorn, with each setting that differs from its default, and why."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

import uvicorn
from starlette.applications import Starlette

from activities.callback_urls import CallbackURLs
from activities.client import connect, connect_config
from activities.store.errors import SchemaMissing, StoreAway
from activities.store.store import Store
from receiver.app import create_app
from receiver.lifecycle import check_port, end_with_parent, stop_quietly
from receiver.log_setup import log_config, start_logging
from receiver.metrics import SHARED_FOLDER
from receiver.protocol import BoundedProtocol
from receiver.sending.signals import Signals
from receiver.settings import WebSettings

logger = logging.getLogger("stagehook.server")


def app_from_env() -> Starlette:
    """Make the app from the environment. Each of uvicorn's processes calls this."""
    end_with_parent()
    settings = WebSettings.from_env(os.environ)
    start_logging(settings.shared.logs)
    urls = CallbackURLs(settings.shared.public_url, settings.shared.callback_keys)
    signals = Signals(lambda: connect(os.environ, lazy=True))
    shared = settings.shared
    logger.info("started", extra={"partners": ",".join(shared.partners), **shared.build.facts})
    return create_app(
        urls, shared.partners, signals, store=shared.store, metrics_token=settings.metrics_token, build=shared.build
    )


def uvicorn_options() -> dict[str, Any]:
    """uvicorn's settings, the same for every app that is served."""
    return {
        # httptools is three times as fast as h11, and answers 400 to a request with two lengths instead of serving it.
        "http": BoundedProtocol,
        "ws": "none",
        "log_config": log_config(),
        "access_log": False,  # it would log the path, and with it the token
        "server_header": False,
        "proxy_headers": False,  # forwarded headers are not trusted
        "timeout_keep_alive": 100,  # longer than a PaaS router's 90 s: if we closed first, a callback in flight is lost
        "timeout_graceful_shutdown": 6,  # a hung request must not delay SIGTERM; a PaaS kills after 30 s
        "backlog": 2048,
    }


def serve(settings: WebSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `SettingsError` for Temporal's settings, `PortTaken` for the port, and `SchemaMissing` for a store that has
    not been upgraded. If the store or Temporal is away, serve and wait for it.
    """
    shared = settings.shared
    start_logging(shared.logs)
    connect_config(os.environ)
    check_port(shared.host, shared.port)
    check_schema(settings.shared.store)
    stop_quietly()
    with tempfile.TemporaryDirectory(prefix="stagehook-metrics-") as folder:
        if shared.processes > 1:
            os.environ[SHARED_FOLDER] = folder
        uvicorn.run(
            "receiver.server:app_from_env",
            factory=True,
            host=shared.host,
            port=shared.port,
            workers=shared.processes,
            **{**uvicorn_options(), "log_config": log_config(shared.logs)},
        )


def check_schema(store: Store | None) -> None:
    """Raise `SchemaMissing` if the store is reachable and lacks tables: better at a deploy than at a callback."""
    if store is None:
        return
    try:
        store.database.check()
    except SchemaMissing:
        raise
    except StoreAway as away:
        logger.warning("store-away", extra={"why": str(away)})
