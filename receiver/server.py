"""The receiver's process: uvicorn, with each setting that differs from its default, and why."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from dataclasses import replace
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from activities.annotations import resolve_annotations
from activities.callback_urls import CallbackURLs
from activities.client import connect, connect_config, target_of
from activities.store.errors import SchemaMissing, StoreAway
from activities.store.store import Store
from receiver.app import create_app
from receiver.lifecycle import check_port, end_with_parent, freeze_loaded_objects, stop_quietly
from receiver.log_setup import log_config, start_logging
from receiver.metrics import SHARED_FOLDER
from receiver.protocol import BoundedProtocol
from receiver.sandbox.trial import TrialSandbox
from receiver.sending.signals import RECEIVER_IDENTITY, Signals
from receiver.settings import LONGER_THAN_A_ROUTER, WebSettings
from receiver.start_warnings import warn_of

logger = logging.getLogger("stagehook.server")

STARTUP_FAILURE: Final = 3
"""uvicorn's exit code for an app that did not start."""


def app_from_env() -> Starlette:
    """Make the app from the environment. Each of uvicorn's processes calls this."""
    end_with_parent()
    settings = WebSettings.from_env(os.environ)
    start_logging(settings.shared.logs)
    urls = CallbackURLs(settings.shared.public_url, settings.shared.callback_keys)
    signals = Signals(lambda: connect(os.environ, lazy=True))
    shared = settings.shared
    target = replace(target_of(connect_config(os.environ)), identity=RECEIVER_IDENTITY)
    logger.info("temporal", extra=target.facts)
    facts = {"partners": ",".join(shared.partners), **shared.address.facts}
    logger.info("started", extra={**facts, **shared.build.facts})
    warn_of(shared, logger)
    app = create_app(
        urls,
        shared.partners,
        signals,
        store=shared.store,
        metrics=shared.metrics,
        build=shared.build,
        trial=TrialSandbox.of(shared),
        console=_console_of(settings),
    )
    resolve_annotations()
    freeze_loaded_objects()
    return app


def _console_of(settings: WebSettings) -> ASGIApp | None:
    """The console, if it has a password. Imported only then: it loads Jinja."""
    if not settings.console_password:
        return None
    from receiver.console.app import create_console
    from receiver.console.options import ConsoleOptions
    from receiver.console.sources import Sources

    shared = settings.shared
    options = ConsoleOptions.mounted(shared.public_url, settings.console_password)
    sources = Sources(lambda: connect(os.environ), shared.store, shared.partners, shared.callback_keys)
    logger.info("console", extra={"at": f"{options.url}/"})
    return create_console(options, sources, settings.identity)


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
        "timeout_keep_alive": LONGER_THAN_A_ROUTER,
        "timeout_worker_healthcheck": 30,  # a process that starts on a busy machine may not answer within uvicorn's 5 s
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
        options = {**uvicorn_options(), "log_config": log_config(shared.logs)}
        options |= {"factory": True, "host": shared.host, "port": shared.port}
        options["timeout_keep_alive"] = settings.keep_alive
        if ":" in shared.host and shared.processes == 1:
            _run_on_ipv6(uvicorn.Config("receiver.server:app_from_env", **options))
        else:
            uvicorn.run("receiver.server:app_from_env", workers=shared.processes, **options)


def _run_on_ipv6(config: uvicorn.Config) -> None:
    """Serve in this process, with uvicorn's socket as for several: on `::` it takes IPv4 too; asyncio's does not."""
    server = uvicorn.Server(config)
    server.run(sockets=[config.bind_socket()])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


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
