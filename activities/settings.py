"""Settings: the environment variables of web and worker processes, which `activities.variables` lists.

`activities.client` reads Temporal's own variables (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, ...). Each
partner's file names that partner's variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Self
from urllib.parse import urlsplit

from activities import trial
from activities.builds import Build
from activities.environment import Environment, is_loopback
from activities.log_settings import LogSettings
from activities.metrics_settings import MetricsSettings
from activities.partners import PARTNERS, load_partners
from activities.partners.partner import Partner
from activities.public_url import PublicURL, read_public_url, stated_public_url
from activities.store.store import Store
from activities.strength import SHORTEST_CALLBACK_KEY, is_patterned_key, is_weak_key
from activities.variables import VARIABLES
from workflows.contract import TOKEN_VERSIONS

DEFAULT_TASK_QUEUE: Final = "stagehook"
NEW_KEY: Final = "`stagehook key generate`"


@dataclass(frozen=True)
class Settings:
    """Checked settings.

    address: where partners reach the receiver; never taken from a request.
    trial: whether web plays the sample partners; see `activities.trial`.
    development: whether it runs on a developer's machine; see `read_development`.
    callback_keys: keys of callback tokens; the first key signs, all keys verify.
    partners: the enabled partners by name.
    token_version: the version of callback tokens of new runs.
    task_queue: the task queue that the worker polls.
    store: where deliveries and calls are kept, or None to keep none.
    build: the version of the code.
    metrics: how metrics are shown and pushed.
    logs: how the processes log.
    host, port, processes: the receiver's listening address and number of processes.
    """

    address: PublicURL
    trial: bool
    development: bool
    callback_keys: tuple[str, ...] = field(repr=False)
    partners: Mapping[str, Partner] = field(repr=False)
    token_version: int
    task_queue: str
    store: Store | None
    build: Build
    metrics: MetricsSettings
    logs: LogSettings
    host: str
    port: int
    processes: int

    @property
    def public_url(self) -> str:
        """The base URL at which partners reach the receiver, without a trailing slash."""
        return self.address.url

    @classmethod
    def from_env(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings; raises `SettingsError` with all faults at once."""
        env = Environment(variables)
        settings = cls.read(env)
        env.check()
        return settings

    @classmethod
    def read(cls, env: Environment, *, of_web: bool = False) -> Self:
        """Read the settings and add each fault to `env`; do not use the settings if there are faults.

        of_web: see `read_public_url`.
        """
        address = read_public_url(env, of_web=of_web)
        local, development = is_loopback(address.url), read_development(env)
        keys = read_callback_keys(env, public=bool(address.url) and not local)
        if is_trial := env.switch("TRIAL"):
            trial.prepare(env, address.url, keys)
        partners = load_partners(env.names("PARTNERS", fix=f"enable some of {', '.join(PARTNERS)}"), env)
        is_public = bool(address.url) and not local and not development
        _check_partners(env, partners, is_public=is_public, is_trial=is_trial)
        store = Store.read(env, "" if development else address.url)
        if store is None:
            for name in (name for name, partner in partners.items() if partner.needs_store):
                env.fault("PARTNERS", f"names {name}, whose file needs a store", "set DATABASE_URL for web and worker")
        return cls(
            address=address,
            trial=is_trial,
            development=development,
            store=store,
            callback_keys=keys,
            partners=partners,
            token_version=read_token_version(env),
            task_queue=read_task_queue(env),
            build=Build.read(env),
            metrics=MetricsSettings.read(env, address.url),
            logs=LogSettings.read(env),
            host=read_host(env, address.url, development=development),
            port=env.number("PORT", fix=VARIABLES["PORT"], default=8000, least=1, most=65535),
            processes=env.number("WEB_CONCURRENCY", fix=VARIABLES["WEB_CONCURRENCY"], default=1, least=1, most=100),
        )


def read_development(env: Environment) -> bool:
    """Whether DEVELOPMENT is 1: a public PUBLIC_URL is then a tunnel's, and may go with the sample partners and SQLite.

    A production system of several machines cannot run with it by accident: its receiver listens on loopback only, and a
    Temporal on another machine becomes a fault. On a single machine a warning at the start has to do.
    """
    if env.optional("DEVELOPMENT") != "1":
        return False
    if not is_loopback(f"http://{env.optional('TEMPORAL_ADDRESS')}"):
        problem = "is 1, but TEMPORAL_ADDRESS does not name this machine"
        env.fault("DEVELOPMENT", problem, "leave it out in production; `stagehook dev` sets it beside a Temporal here")
    return True


def partner_environment(variables: Mapping[str, str]) -> Environment:
    """Return a reader of the variables for making partners, with what TRIAL=1 adds for the samples."""
    env = Environment(variables)
    if env.optional("TRIAL") == "1":
        address = stated_public_url(env)
        trial.prepare(env, address.url.rstrip("/") if address else "", read_callback_keys(env.beside()))
    return env


def _check_partners(env: Environment, partners: Mapping[str, Partner], *, is_public: bool, is_trial: bool) -> None:
    """Keep the sample partners, which prove little, apart from real ones and from public addresses."""
    for name, partner in partners.items():
        if is_trial and not partner.loopback_only:
            problem = f"names {name}, a real partner, beside TRIAL=1"
            env.fault("PARTNERS", problem, "remove TRIAL, or name only the sample partners")
        elif is_public and partner.loopback_only and not is_trial:
            fix = "only a loopback PUBLIC_URL may enable it, or TRIAL=1 for a first deploy"
            env.fault("PARTNERS", f"names {name}, only for tests", fix)


def read_host(env: Environment, public_url: str, *, development: bool = False) -> str:
    """Return the address to listen on: HOST, or one that fits PUBLIC_URL. A HOST that is not an IP is a fault.

    A public receiver must be reachable from a router on another machine; a local receiver must not, nor one with
    DEVELOPMENT=1, to which a tunnel leads.
    """
    given = env.optional("HOST").removeprefix("[").removesuffix("]")
    if development and given not in {"", "localhost", "127.0.0.1", "::1"}:
        env.fault("HOST", "is not this machine, beside DEVELOPMENT=1", "remove it: the tunnel leads to 127.0.0.1")
    try:
        if given:
            return given if given == "localhost" else str(ip_address(given))
    except ValueError:
        env.fault("HOST", "is not an IP address", "use 0.0.0.0 for IPv4, :: for IPv6 and IPv4, or remove it")
    if development:
        return "127.0.0.1"
    if not is_loopback(public_url):
        return "0.0.0.0"  # noqa: S104
    return "::1" if ":" in (urlsplit(public_url).hostname or "") else "127.0.0.1"


def read_task_queue(env: Environment) -> str:
    """Return TASK_QUEUE, or the default."""
    return env.text("TASK_QUEUE", fix=VARIABLES["TASK_QUEUE"], default=DEFAULT_TASK_QUEUE)


def read_token_version(env: Environment) -> int:
    """Return TOKEN_VERSION, which a run's input takes along; another value than 1 or 2 becomes a fault."""
    fix = VARIABLES["TOKEN_VERSION"]
    return env.number("TOKEN_VERSION", fix=fix, default=1, least=min(TOKEN_VERSIONS), most=max(TOKEN_VERSIONS))


def read_callback_keys(env: Environment, *, public: bool = False) -> tuple[str, ...]:
    """Return the keys of CALLBACK_KEYS; missing and weak keys become faults.

    public: the receiver is reachable by strangers, so keys from the documentation or made by hand are faults too.
    """
    keys = env.names("CALLBACK_KEYS", fix=f"{VARIABLES['CALLBACK_KEYS']}; {NEW_KEY} prints one")
    fix = f"use {SHORTEST_CALLBACK_KEY} random characters or more; {NEW_KEY} prints such a key"
    for place, key in enumerate(keys, start=1):
        if is_weak_key(key):
            env.fault("CALLBACK_KEYS", f"has a weak key in place {place}", fix)
        elif public and is_patterned_key(key):
            env.fault("CALLBACK_KEYS", f"has a guessable key in place {place} (words, sequences or repeats)", fix)
    return tuple(keys)
