"""Serve the console from a process of its own."""

from __future__ import annotations

import os
from ipaddress import ip_address

import uvicorn

from activities.client import connect, connect_config
from activities.environment import Environment, is_loopback
from activities.log_settings import LogSettings
from activities.partners import load_partners
from activities.settings import NEW_KEY, partner_environment, read_callback_keys
from activities.store.store import Store
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.cli.pipeline.actors import os_user
from receiver.console.app import create_console
from receiver.console.identity import Identity, read_identity
from receiver.console.options import ConsoleOptions, read_password
from receiver.console.sources import Sources
from receiver.lifecycle import check_port, stop_quietly
from receiver.log_setup import log_config, start_logging
from receiver.server import uvicorn_options


async def serve_console(host: str, port: int, url: str) -> None:
    """Serve until SIGTERM. url: the address in the browser; "" for the one that is listened on.

    Raises `SettingsError`, `PortTaken`, and `CommandError` for an address of other machines without a password.
    """
    address = _address(host, port)
    env = partner_environment(os.environ)
    shown = env.checked_url("--url", url) if url else address
    password = read_password(env, shown)
    logs, sources = LogSettings.read(env), _read_sources(env)
    identity = read_identity(env)
    env.check()
    if not password and not (is_loopback(address) and is_loopback(shown)):
        what = f"{shown} can be reached from other machines, and no password is set"
        raise CommandError(what, f"set CONSOLE_PASSWORD ({NEW_KEY} prints one), or listen on 127.0.0.1", Exit.USAGE)
    start_logging(logs)
    connect_config(os.environ)
    check_port(host, port)
    options = ConsoleOptions(shown, password, key=password) if password else ConsoleOptions(shown, actor=os_user())
    note(f"console: {shown}/")
    note(_how_to_enter(options, identity))
    stop_quietly()
    config = {**uvicorn_options(), "log_config": log_config(logs), "lifespan": "off", "host": host, "port": port}
    await uvicorn.Server(uvicorn.Config(create_console(options, sources, identity), **config)).serve()


def _how_to_enter(options: ConsoleOptions, identity: Identity | None) -> str:
    if identity is not None:
        return f"visitors are those of the identity proxy, by the header {identity.header}"
    if options.password:
        return "sign in with CONSOLE_PASSWORD"
    return f"no password is asked for; you act as {options.actor}"


def _address(host: str, port: int) -> str:
    try:
        ip = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise CommandError(f"--host {host} is not an IP address", "use 127.0.0.1", Exit.USAGE) from None
    return f"http://[{ip}]:{port}" if ip.version == 6 else f"http://{ip}:{port}"


def _read_sources(env: Environment) -> Sources:
    """What the pages read from: of the settings that web and worker need, those that are given."""
    return Sources(
        connect=lambda: connect(os.environ),
        store=Store.read(env),
        partners=load_partners(env.names("PARTNERS", fix=""), env) if env.optional("PARTNERS") else {},
        callback_keys=read_callback_keys(env) if env.optional("CALLBACK_KEYS") else (),
    )
