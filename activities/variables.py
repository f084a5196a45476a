"""Variables: Stagehook's own settings in the environment, each with what it holds.

Two kinds of variables are not here: Temporal's own, which begin with TEMPORAL_, and those of a partner, which the
partner's file names. `PLATFORM_VARIABLES` are set by a platform. Tests compare the list with the code that reads
settings, with .env.example and with app.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VARIABLES: Final[Mapping[str, str]] = {
    "PUBLIC_URL": "the https address at which partners reach the receiver",
    "CALLBACK_KEYS": "keys of callback tokens, joined by commas; the first signs, all verify",
    "PARTNERS": "the enabled partners, joined by commas",
    "TRIAL": "1 to play the sample partners inside web, for a first deploy without partners of your own",
    "TASK_QUEUE": "the task queue that runs are started on and the worker polls",
    "TOKEN_VERSION": "version of callback tokens of new runs: 1, or 2 for short ones once every receiver takes them",
    "PORT": "a port to listen on",
    "HOST": "the IP address to listen on, such as :: for IPv6; by default every IPv4 address if PUBLIC_URL is public",
    "ALLOW_HTTP": "1 to permit http URLs of other machines, in a private network",
    "KEEP_ALIVE_SECONDS": "seconds to keep an idle connection open; more than the router does",
    "WEB_CONCURRENCY": "the number of receiver processes on one machine",
    "DATABASE_URL": "where deliveries are kept: PostgreSQL, or a SQLite file on a disk that lasts",
    "ALLOW_SQLITE": "1 to keep deliveries in SQLite although PUBLIC_URL is public",
    "DEVELOPMENT": "1 on a developer's machine: a tunnel's PUBLIC_URL may go with the sample partners and SQLite",
    "RETENTION_DAYS": "days to keep deliveries",
    "PACK_DELIVERIES": "1 to compress new deliveries in the store, once every receiver and command can read them",
    "BUILD_ID": "the deployed version, such as the id of the commit; shown in logs and metrics",
    "WORKER_VERSIONING": "1 to have Temporal give runs only to workers whose BUILD_ID was made current",
    "METRICS_PORT": "a port on which the worker answers /metrics and /healthz; without it, it listens nowhere",
    "METRICS_TOKEN": "the bearer token with which /metrics can be read; without one, a public process has no /metrics",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "a collector to which web and worker push their metrics, such as http://127.0.0.1:4318",
    "OTEL_EXPORTER_OTLP_HEADERS": "what the collector asks for, such as Authorization=Bearer%20TOKEN",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "how metrics are pushed; only http/protobuf",
    "OTEL_METRIC_EXPORT_INTERVAL": "milliseconds between two pushes",
    "OTEL_SERVICE_NAME": "the name under which metrics are pushed, instead of stagehook-web and stagehook-worker",
    "CONSOLE_PASSWORD": "a random password, with which web shows the console's pages at /console/; without one, none",
    "CONSOLE_IDENTITY_HEADER": "the header in which an identity proxy before the console asserts who the visitor is",
    "CONSOLE_IDENTITY_JWKS": "the https URL of the key set with which the identity proxy signs",
    "CONSOLE_IDENTITY_AUDIENCE": "the audience (aud) that the identity proxy's assertions name",
    "CONSOLE_IDENTITY_ISSUER": "the issuer (iss) that the identity proxy's assertions name",
    "CONSOLE_IDENTITY_CLAIM": "the claim of the assertion that names the visitor; email by default",
    "CONSOLE_IDENTITY_ALGORITHM": "the algorithm with which the identity proxy signs; RS256 by default",
    "LOG_FORMAT": "the form of the log: text for people, json for machines",
    "LOG_LEVEL": "the least level that is logged: debug, info, warning, error or critical",
}
"""What each setting holds, by its name."""

PLATFORM_VARIABLES: Final[Mapping[str, str]] = {
    "HEROKU_APP_DEFAULT_DOMAIN_NAME": "Heroku, with dyno metadata: the host of the app, the same in web and worker",
    "RENDER_EXTERNAL_URL": "Render: the address of the service, only in web services",
    "RENDER_SERVICE_TYPE": "Render: the kind of the service",
    "RAILWAY_PUBLIC_DOMAIN": "Railway: the host of the service, if it has one",
    "RAILWAY_SERVICE_NAME": "Railway: the name of the service",
}
"""Variables of platforms, by their names, from which `activities.public_url` learns an address or its lack."""
