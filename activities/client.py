"""The Temporal client, made from Temporal's own settings: TEMPORAL_* variables or a temporal.toml file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import RPCError, RPCStatusCode

DEFAULT_ADDRESS: Final = "localhost:7233"
AWAY: Final = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    # What the SDK makes of a call that got no answer within its timeout.
    RPCStatusCode.CANCELLED,
}


class TemporalUnreachable(Exception):
    """Temporal did not answer, or refused us. The message names the address."""


def connect_config(variables: Mapping[str, str]) -> ClientConnectConfig:
    """How to connect, from the environment given."""
    config = ClientConfig.load_client_connect_config(override_env_vars=dict(variables))
    config.setdefault("target_host", DEFAULT_ADDRESS)
    return config


async def connect(variables: Mapping[str, str], *, lazy: bool = False) -> Client:
    """A client; raises `TemporalUnreachable` unless it is lazy, which then happens at its first use."""
    config = connect_config(variables)
    async with reaching_temporal(config["target_host"]):
        return await Client.connect(**config, lazy=lazy)


@asynccontextmanager
async def reaching_temporal(address: str, *, within: float = 10.0) -> AsyncIterator[None]:
    """Turn everything that Temporal's absence looks like into `TemporalUnreachable`, within so many seconds."""
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError as error:
        raise TemporalUnreachable(f"Temporal at {address} did not answer within {within:g} s") from error
    except RPCError as error:
        if error.status in AWAY:
            raise TemporalUnreachable(f"Temporal at {address} is not available") from error
        if error.status in {RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED}:
            raise TemporalUnreachable(f"Temporal at {address} refuses our credentials") from error
        raise
    except RuntimeError as error:
        # The bridge reports a failed connection as a bare RuntimeError.
        if "connect" not in str(error).lower():
            raise
        raise TemporalUnreachable(f"Temporal at {address} cannot be reached") from error
