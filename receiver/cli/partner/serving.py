"""Serve the sandbox partner on loopback."""

from __future__ import annotations

import os

import click
import httpx
import uvicorn

from activities.log_settings import LogSettings
from receiver.cli.partner.settings import partner_from_environment
from receiver.lifecycle import check_port, stop_quietly
from receiver.log_setup import log_config, start_logging
from receiver.sandbox.app import DEFAULT_RECEIVER, SandboxPartner
from receiver.sandbox.roles import ROLES
from receiver.sandbox.work import PLAYS


async def serve_sandbox(port: int, plays: tuple[str, ...], delay: float | None, seed: int) -> None:
    """Serve the sandbox until SIGTERM. delay: seconds. Raises `PortTaken`, and a usage error for an unknown play."""
    script, logs = _read_plays(plays), LogSettings.from_env(os.environ)
    start_logging(logs)
    check_port("127.0.0.1", port)
    names = [*ROLES, "sandbox"]
    schemes = {name: made.signature for name in names if (made := partner_from_environment(name)) and made.signature}
    # SSL_CERT_FILE counts, so that callbacks get through a tunnel whose certificate is from an authority of one's own.
    certificates = httpx.create_ssl_context()
    async with httpx.AsyncClient(timeout=10, trust_env=False, verify=certificates) as http:
        public_url = os.environ.get("PUBLIC_URL", "").rstrip("/") or DEFAULT_RECEIVER
        sandbox = SandboxPartner(http, script, schemes=schemes, public_url=public_url, seed=seed, delay=delay)
        config = uvicorn.Config(
            sandbox.app,
            host="127.0.0.1",
            port=port,
            log_config=log_config(logs),
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        stop_quietly()
        await uvicorn.Server(config).serve()
        await sandbox.aclose()


def _read_plays(plays: tuple[str, ...]) -> dict[str, list[str]]:
    script: dict[str, list[str]] = {}
    for text in plays:
        name, _, listed = text.partition("=")
        script[name] = listed.split(",")
        for play in script[name]:
            if play not in {*PLAYS, "mixed"}:
                what = f"unknown play {play!r}: use one of {', '.join(PLAYS)}, mixed"
                raise click.BadParameter(f"--plays {text}: {what}; repeat --plays for another partner")
    return script
