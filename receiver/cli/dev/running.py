"""Run the parts of a local system side by side, as the settings file says, until one ends or a signal comes."""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from activities.client import DEFAULT_ADDRESS, TemporalUnreachable, connect, connect_config
from activities.environment import is_loopback
from activities.settings import Settings
from activities.store import migrations
from activities.store.database import Database
from receiver.cli.demo.processes import PARENT_LOOK_SECONDS, Processes, cancel_with_parent, free_port
from receiver.cli.demo.stack import LOOPBACK, NAMESPACE, start_parts, temporal_server
from receiver.cli.dev.lines import Lines
from receiver.cli.dev.settings_file import read_settings_file, replaced
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.cli.partner import DEFAULT_PORT
from receiver.cli.terminal import printable
from receiver.lifecycle import PortTaken, check_port

DEV_STOP_WITHIN: Final = 5.0
"""Seconds for the processes to end before they are killed."""

OWN_TEMPORAL: Final = ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE")
"""Temporal's variables that count: the dev server has neither TLS nor API keys."""

UI_ABOVE: Final = 1000
"""The dev server's own habit: its UI listens on a port that is higher by this."""


async def run_dev(file: Path, data: Path) -> None:
    """Run the parts without end; raises `CommandError`, `SettingsError` and `PartFailed`.

    file: the settings. data: the folder of Temporal's runs.
    """
    cancel_with_parent()
    lines = Lines()
    with (
        tempfile.TemporaryDirectory(prefix="stagehook-dev-") as folder,
        Processes(Path(folder), grace=DEV_STOP_WITHIN) as processes,
    ):
        variables = read_settings_file(file)
        if names := replaced(variables, os.environ):
            note(printable(f"from the environment, in place of {file}: {', '.join(names)}"))
        system = await planned(variables, os.environ, Path(folder))
        server = system.server(data)
        _upgrade(system.settings, data)
        await start_parts(
            processes,
            lambda name, command, env: processes.start_shown(name, command, env, lines.show),
            system.environment,
            server,
            None if system.sandbox_port is None else ["--port", str(system.sandbox_port)],
            within=math.inf,
        )
        for line in system.welcome(file):
            note(printable(line))
        while True:
            processes.check()
            await asyncio.sleep(PARENT_LOOK_SECONDS)


@dataclass(frozen=True)
class System:
    """What is to be run. sandbox_port: the sandbox partner's port, or None if no enabled partner is played by it."""

    environment: Mapping[str, str]
    settings: Settings
    sandbox_port: int | None
    ui_port: int

    def server(self, data: Path) -> list[str]:
        """Return the command of Temporal's dev server."""
        ip, port = _host_and_port(self.environment["TEMPORAL_ADDRESS"])
        namespace = self.environment["TEMPORAL_NAMESPACE"]
        return temporal_server(port, data / "temporal.db", self.ui_port, ip=ip, namespace=namespace)

    def welcome(self, file: Path) -> list[str]:
        """Say what runs where, when everything is ready."""
        settings = self.settings
        lines = [f"ready: web listens on {LOOPBACK}:{settings.port}, and partners call {settings.public_url}"]
        public = urlsplit(settings.public_url)
        if public.scheme == "https":
            lines.append(f"  callbacks need the tunnel from there to port {settings.port}")
        elif public.port != settings.port or ":" in str(public.hostname):
            lines.append(f"  callbacks get lost unless something leads from there to port {settings.port} (PORT)")
        if self.sandbox_port is None:
            lines.append("  no sandbox partner: PARTNERS names none that it plays here")
        lines.append(f"  Temporal's UI: http://{LOOPBACK}:{self.ui_port}")
        # There, Settings would refuse the sample partners and SQLite beside a public PUBLIC_URL.
        more = "" if is_loopback(settings.public_url) else "DEVELOPMENT=1; "
        return [
            *lines,
            f"  in another terminal, first: set -a; . {_sourced(file)}; {more}set +a",
            "  Ctrl-C ends everything",
        ]


async def planned(variables: Mapping[str, str], environment: Mapping[str, str], folder: Path) -> System:
    """Return the system that these settings describe; raises `CommandError` for one that cannot be run.

    variables: of the settings file. environment: replaces them. folder: for an empty temporal.toml.
    """
    given = {name: value for name, value in environment.items() if value or name not in variables}
    env = _environment({**variables, **given}, folder)
    await _check_temporal(env["TEMPORAL_ADDRESS"])
    settings = Settings.from_env(env)
    if settings.store is not None:
        _check_store(settings.store.database)
    sandbox_port = _sandbox_port(settings, env)
    _check_port("PORT", settings.port)
    if sandbox_port is not None:
        _check_port("SANDBOX_URL", sandbox_port)
    return System(env, settings, sandbox_port, _ui_port(env["TEMPORAL_ADDRESS"]))


def _environment(merged: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of the parts: these variables, with a Temporal of this machine."""
    others = {name: value for name, value in merged.items() if not name.startswith("TEMPORAL_")}
    own = {name: merged[name] for name in OWN_TEMPORAL if merged.get(name)}
    no_config = folder / "temporal.toml"
    no_config.touch()
    return {
        "PORT": "8000",
        **others,
        "TEMPORAL_ADDRESS": DEFAULT_ADDRESS,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        **own,
        # An empty file. Otherwise the file in the user's home could connect the processes to a real system.
        "TEMPORAL_CONFIG_FILE": str(no_config),
        # Some shells export the machine's name under this name, and the receiver takes it for an address.
        "HOST": LOOPBACK,
        "DEVELOPMENT": "1",
        "PYTHONUNBUFFERED": "1",
    }


async def _check_temporal(address: str) -> None:
    """Raise `CommandError` or `SettingsError` unless Temporal's dev server can listen at this address."""
    if not is_loopback(f"http://{address}") or ":" not in address:
        what = f"TEMPORAL_ADDRESS {address} is not an address of this machine, where Temporal is to be started"
        advice = "set TEMPORAL_ADDRESS=127.0.0.1:7233; to use another Temporal, run `stagehook serve` and `worker`"
        raise CommandError(what, advice, Exit.USAGE)
    connect_config({"TEMPORAL_ADDRESS": address, "TEMPORAL_CONFIG_FILE": os.devnull})  # an address that cannot be
    host, port = _host_and_port(address)
    try:
        check_port(host, port)
    except PortTaken as error:
        try:
            await connect({"TEMPORAL_ADDRESS": address, "TEMPORAL_CONFIG_FILE": os.devnull})
            what = f"a Temporal server listens at TEMPORAL_ADDRESS {address} already"
        except TemporalUnreachable:
            what = f"another program than Temporal listens at TEMPORAL_ADDRESS {address}"
        advice = "end it (another `stagehook dev`?), or set TEMPORAL_ADDRESS to another port of this machine"
        raise CommandError(what, advice) from error


def _check_store(database: Database) -> None:
    """Raise `CommandError` for a store on another machine.

    It may be production's: the receiver here would take its waiting deliveries to the Temporal here, and they would be
    lost for production.
    """
    host = str(database.url.host or database.url.query.get("host") or "")
    if database.is_sqlite or not host or host.startswith("/") or is_loopback(f"http://{host}"):
        return
    what = f"DATABASE_URL names a store on {host}, and web here would take the deliveries that wait in it"
    advice = "name a store on this machine; `stagehook delivery tail --replay-to` sends another store's deliveries here"
    raise CommandError(what, advice, Exit.USAGE)


def _sandbox_port(settings: Settings, env: Mapping[str, str]) -> int | None:
    """Return the sandbox partner's port; None if no enabled partner is played by it, or if it is elsewhere."""
    url = env.get("SANDBOX_URL") or f"http://{LOOPBACK}:{DEFAULT_PORT}"
    if not is_loopback(url) or not any(partner.loopback_only for partner in settings.partners.values()):
        return None
    return urlsplit(url).port or 80


def _check_port(name: str, port: int) -> None:
    try:
        check_port(LOOPBACK, port)
    except PortTaken as error:
        advice = f"end what listens there (another `stagehook dev`?), or set another port in {name}"
        raise CommandError(f"{name}: {error}", advice) from error


def _ui_port(address: str) -> int:
    """Return the port of Temporal's UI: the dev server's own choice, or a free one if that is taken."""
    port = _host_and_port(address)[1] + UI_ABOVE
    try:
        check_port(LOOPBACK, port)
    except (PortTaken, OverflowError):
        return free_port()
    return port


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(f"http://{address}")
    return (LOOPBACK if parts.hostname == "localhost" else str(parts.hostname)), parts.port or 0


def _upgrade(settings: Settings, data: Path) -> None:
    """Make the folders that are missing, and the store's tables."""
    database = settings.store.database if settings.store else None
    try:
        data.mkdir(parents=True, exist_ok=True)
        if database and database.is_sqlite:
            Path(str(database.url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be made: {error.strerror}", "name another --data") from error
    if database:
        migrations.upgrade(database)


def _sourced(file: Path) -> str:
    """Return the file's name as a shell's `.` finds it, which looks up a name without a slash in PATH."""
    return str(file) if "/" in str(file) else f"./{file}"
