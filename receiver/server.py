"""The receiver as a process: uvicorn, with every setting that differs from its default, and why."""

from __future__ import annotations

import os
from typing import Any

import uvicorn
from starlette.applications import Starlette

from activities.callback_urls import CallbackURLs
from activities.client import connect, connect_config
from activities.settings import Settings
from receiver.app import create_app
from receiver.forwarder import Forwarder
from receiver.lifecycle import check_port, stop_quietly
from receiver.logs import LOG_CONFIG
from receiver.protocol import BoundedProtocol


def app_from_env() -> Starlette:
    """The app, made in each of uvicorn's processes from the environment that they share."""
    settings = Settings.from_env(os.environ)
    urls = CallbackURLs(settings.public_url, settings.callback_keys)
    return create_app(urls, settings.partners, Forwarder(lambda: connect(os.environ, lazy=True)))


def uvicorn_options() -> dict[str, Any]:
    """uvicorn's settings, whatever is served."""
    return {
        # httptools has three times h11's rate, and answers 400 to a request with two lengths instead of serving it.
        "http": BoundedProtocol,
        "ws": "none",
        "log_config": LOG_CONFIG,
        "access_log": False,  # it would log the path, and with it the token
        "server_header": False,
        "proxy_headers": False,  # nothing here believes a forwarded header
        "timeout_keep_alive": 100,  # longer than a PaaS router's 90 s: who closes first loses a callback in flight
        "timeout_graceful_shutdown": 6,  # a hung request must not hold up SIGTERM; a PaaS kills after 30 s
        "backlog": 2048,
    }


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises `SettingsError` for Temporal's settings, `PortTaken` for the port."""
    connect_config(os.environ)
    check_port(settings.host, settings.port)
    stop_quietly()
    uvicorn.run(
        "receiver.server:app_from_env",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.processes,
        **uvicorn_options(),
    )
