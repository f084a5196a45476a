"""MetricsSettings: where and for whom a process shows its metrics, and whether it pushes them to a collector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlsplit

from activities.environment import Environment, is_loopback
from activities.variables import VARIABLES

SHORTEST_METRICS_TOKEN: Final = 16
PROTOCOL: Final = "http/protobuf"
LONGEST_INTERVAL_MS: Final = 3_600_000


@dataclass(frozen=True)
class PushSettings:
    """How metrics are pushed. The exporter itself reads endpoint, headers, certificates and time limit.

    service: OTEL_SERVICE_NAME, or "". interval: seconds between two pushes.
    """

    service: str
    interval: float

    @classmethod
    def read(cls, env: Environment) -> Self | None:
        """Read OpenTelemetry's variables; None without an endpoint. Invalid values become faults of `env`."""
        endpoint = env.optional("OTEL_EXPORTER_OTLP_ENDPOINT")
        if not endpoint:
            return None
        if not _is_url(endpoint):
            fix = "use an address such as http://127.0.0.1:4318"
            env.fault("OTEL_EXPORTER_OTLP_ENDPOINT", "is not an http or https URL", fix)
        if env.optional("OTEL_EXPORTER_OTLP_PROTOCOL") not in {"", PROTOCOL}:
            fix = f"remove it, or set it to {PROTOCOL}; collectors take that at port 4318"
            env.fault("OTEL_EXPORTER_OTLP_PROTOCOL", f"is not {PROTOCOL}", fix)
        if not _are_headers(env.optional("OTEL_EXPORTER_OTLP_HEADERS")):
            fix = "use NAME=VALUE, and commas between several; a blank is %20"
            env.fault("OTEL_EXPORTER_OTLP_HEADERS", "is not a list of headers", fix)
        interval = env.number(
            "OTEL_METRIC_EXPORT_INTERVAL",
            fix=VARIABLES["OTEL_METRIC_EXPORT_INTERVAL"],
            default=60_000,
            least=100,
            most=LONGEST_INTERVAL_MS,
        )
        return cls(env.optional("OTEL_SERVICE_NAME"), interval / 1000)


@dataclass(frozen=True)
class MetricsSettings:
    """How a process tells its metrics.

    port: where the worker answers /metrics and /healthz, or 0. token: the bearer token for /metrics; "" for public
    metrics, None for no metrics (404). push: how they are pushed, or None.
    """

    port: int = 0
    token: str | None = field(default="", repr=False)
    push: PushSettings | None = None

    @property
    def are_counted(self) -> bool:
        """Whether a worker has to count anything."""
        return bool(self.port or self.push)

    @classmethod
    def read(cls, env: Environment, public_url: str) -> Self:
        """Read the settings; invalid values become faults of `env`."""
        token = env.optional("METRICS_TOKEN")
        if token and len(token) < SHORTEST_METRICS_TOKEN:
            env.fault("METRICS_TOKEN", "is short", f"use {SHORTEST_METRICS_TOKEN} random characters or more")
        return cls(
            port=env.number("METRICS_PORT", fix=VARIABLES["METRICS_PORT"], default=0, least=0, most=65535),
            # A public process shows its metrics only to a scraper with a token.
            token=token or ("" if is_loopback(public_url) else None),
            push=PushSettings.read(env),
        )


PUBLIC_METRICS: Final = MetricsSettings()
"""Shown to everybody, and not pushed."""


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port
        return False


def _are_headers(text: str) -> bool:
    """Whether the exporter can read every header. It would leave out the others, and the collector would refuse us."""
    headers = [header for header in text.split(",") if header.strip()]
    return text.isprintable() and all("=" in header.strip().lstrip("=") for header in headers)
