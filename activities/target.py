"""Target: which Temporal a process uses, and as who. For log lines and error messages."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self

from temporalio.client import Client
from temporalio.service import TLSConfig

TLS = Literal["off", "on", "mtls"]

DEFAULT_NAMESPACE: Final = "default"


@dataclass(frozen=True)
class Target:
    """Where a client connects to, and as who.

    address: HOST:PORT. tls: "mtls" is TLS with a client certificate. api_key: "" for none. identity: the name that
    Temporal records with what the client does. server_name: the host name that TLS asks for, if it is not the host's.
    """

    address: str
    namespace: str = DEFAULT_NAMESPACE
    tls: TLS = "off"
    api_key: str = field(default="", repr=False)
    identity: str = ""
    server_name: str = ""

    @classmethod
    def of(
        cls,
        target_host: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        tls: bool | TLSConfig | None = None,
        api_key: str | None = None,
        identity: str = "",
        **_: object,
    ) -> Self:
        """The target of a client's settings, by the names that the SDK gives them."""
        mode: TLS = "on" if tls or (tls is None and api_key) else "off"
        server_name = ""
        if isinstance(tls, TLSConfig):
            mode = "mtls" if tls.client_cert else "on"
            server_name = tls.domain or ""
        return cls(target_host, namespace, mode, api_key or "", identity or _identity(), server_name)

    @classmethod
    def of_client(cls, client: Client) -> Self:
        """The target of a client."""
        config = client.service_client.config
        return cls.of(
            config.target_host,
            namespace=client.namespace,
            tls=config.tls,
            api_key=config.api_key,
            identity=config.identity,
        )

    @property
    def host(self) -> str:
        """The host without the brackets of an IPv6 address."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.address.rpartition(":")[2])

    @property
    def facts(self) -> Mapping[str, str]:
        """The facts of a log line. Never the API key."""
        return {"address": self.address, "namespace": self.namespace, "tls": self.tls, "identity": self.identity}

    def __str__(self) -> str:
        return f"Temporal at {self.address}, namespace {self.namespace}"


def _identity() -> str:
    """The identity that the SDK gives a client by default."""
    return f"{os.getpid()}@{socket.gethostname()}"
