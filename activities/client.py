"""The Temporal client, configured by Temporal's own settings: TEMPORAL_* variables or a temporal.toml file."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Final

from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    MetricBuffer,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import KeepAliveConfig, RPCError, TLSConfig

from activities.certificates import check_certificates
from activities.connection_errors import NO_ANSWER_IN_TIME, OTHER, ConnectionFault
from activities.environment import Environment, Fault, SettingsError
from activities.target import Target
from activities.tls_probe import explain

HOST_AND_PORT: Final = re.compile(r"[^\s/:@]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5}")
DEFAULT_ADDRESS: Final = "localhost:7233"
DEFAULT_FILE: Final = "temporal.toml"
LAST_PORT: Final = 65535
TOML_PLACE: Final = re.compile(r"line [0-9]+, column [0-9]+")
TOML_REASONS: Final = (
    "string values must be quoted",
    "duplicate key",
    "invalid basic string",
    "invalid type",
    "invalid table header",
    "invalid utf-8",
)
"""Texts of the SDK's TOML reader that are safe to repeat. Its other texts may quote the file."""

UNKNOWN_PROFILE: Final = re.compile(r"\AProfile '.*' not found", re.DOTALL)
GIVEN_TOGETHER: Final = re.compile(r"Cannot specify both ([A-Za-z_]+) and ([A-Za-z_]+)\Z")
KEEP_ALIVE: Final = KeepAliveConfig(interval_millis=11_000, timeout_millis=4_000)
"""Replaces a silent connection within 15 s instead of the default 45 s. The interval must be over 10 s: if a client
pings more often, a Temporal server closes its connection (`too_many_pings`), and with it a worker's polls."""


class TemporalUnreachable(Exception):
    """Temporal did not answer, or refused the client. The message names the address and the cause.

    fault: the cause.
    """

    def __init__(self, message: str, fault: ConnectionFault | None = None) -> None:
        super().__init__(message)
        self.fault = fault or ConnectionFault(OTHER)

    @property
    def facts(self) -> Mapping[str, str]:
        """The facts of a log line."""
        return {"why": str(self), "cause": self.fault.cause.word, "fix": self.fault.cause.fix}


def connect_config(variables: Mapping[str, str]) -> ClientConnectConfig:
    """Return the connection settings from environment variables; raises `SettingsError`."""
    env = Environment(variables)
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=dict(variables))
    except (RuntimeError, ValueError, OSError) as error:
        fault = _config_fault(error, variables.get("TEMPORAL_CONFIG_FILE") or DEFAULT_FILE)
        # Omit the cause: it quotes a line of the file, so a traceback could show the API key.
        raise SettingsError([fault]) from None
    address = config.setdefault("target_host", DEFAULT_ADDRESS)
    if not HOST_AND_PORT.fullmatch(address):
        env.fault("TEMPORAL_ADDRESS", "is not HOST:PORT", "use an address such as temporal.example.com:7233")
    elif not 1 <= int(address.rpartition(":")[2]) <= LAST_PORT:
        env.fault("TEMPORAL_ADDRESS", f"has a port outside 1 to {LAST_PORT}", "Temporal's default port is 7233")
    if not (key := config.get("api_key", "")).isprintable() or key != key.strip():
        env.fault("TEMPORAL_API_KEY", "has a line break or a blank around it", "give the key alone")
    if isinstance(tls := config.get("tls"), TLSConfig):
        check_certificates(tls, env)
    env.check()
    return config


def target_of(config: ClientConnectConfig) -> Target:
    """What `connect_config` has read, for log lines and errors."""
    return Target.of(**config)


def _config_fault(error: Exception, file: str) -> Fault:
    """Describe an error in Temporal's settings without text from the file: the SDK's errors quote its lines."""
    text = str(error)
    if place := TOML_PLACE.search(text):
        reason = next((reason for reason in TOML_REASONS if reason in text.rpartition("|")[2]), "invalid TOML")
        return Fault(file, f"cannot be read at {place[0]}", f"mend that line ({reason})")
    if UNKNOWN_PROFILE.search(text):
        return Fault("TEMPORAL_PROFILE", f"names a profile that {file} does not have", "name one that it has")
    if both := GIVEN_TOGETHER.search(text):
        return Fault("TEMPORAL_*", f"gives both {both[1]} and {both[2]}", "give only one of them")
    if isinstance(error, OSError) and error.filename:
        return Fault("TEMPORAL_*", f"names {error.filename}, which cannot be read ({error.strerror})", "check the path")
    return Fault("TEMPORAL_*", f"or {file} cannot be used", "check that the file is UTF-8, and each variable")


async def connect(variables: Mapping[str, str], *, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """Return a client; raises `SettingsError` and `TemporalUnreachable`.

    lazy: connect at the first request; if Temporal is unreachable, that request fails, not this function.
    runtime: see `make_runtime`; by default one without metrics.
    """
    config = connect_config(variables)
    async with reaching_temporal(target_of(config)):
        return await Client.connect(**config, lazy=lazy, runtime=runtime or _runtime(), keep_alive_config=KEEP_ALIVE)


@cache
def _runtime() -> Runtime:
    return make_runtime()


def make_runtime(metrics: MetricBuffer | None = None) -> Runtime:
    """Make the process's only runtime. Its core logs through Python's logging; by default it would write to stdout.

    metrics: where it puts the SDK's metrics; see `activities.worker_metrics`.
    """
    # The target and the fields are facts of the line: `receiver.logs` takes them from the record.
    forwarding = LogForwardingConfig(
        logger=logging.getLogger("temporalio.core"),
        append_target_to_name=False,
        prepend_target_on_message=False,
        append_log_fields_to_message=False,
    )
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")
    logging_config = LoggingConfig(filter=levels, forwarding=forwarding)
    # The name of the service would be a label that says nothing of a single metric.
    telemetry = TelemetryConfig(logging=logging_config, metrics=metrics, attach_service_name=False)
    return Runtime(telemetry=telemetry)


@asynccontextmanager
async def reaching_temporal(target: Target, *, within: float | None = 10.0) -> AsyncIterator[None]:
    """Turn every sign of an unreachable Temporal into `TemporalUnreachable`, within `within` seconds."""
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError as error:
        raise unreachable(ConnectionFault(NO_ANSWER_IN_TIME, f"{within:g} s"), target) from error
    except (RPCError, RuntimeError) as error:
        if fault := await explain(error, target):
            raise unreachable(fault, target) from error
        raise


def unreachable(fault: ConnectionFault, target: Target) -> TemporalUnreachable:
    """The error that says what is wrong with Temporal, and where."""
    return TemporalUnreachable(fault.sentence(target), fault)
