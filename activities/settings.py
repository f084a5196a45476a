"""Settings: the environment variables of web and worker processes, which `activities.variables` lists.

`activities.client` reads Temporal's own variables (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, ...). Each
partner's file names that partner's variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from activities.builds import Build
from activities.environment import Environment, is_loopback
from activities.log_settings import LogSettings
from activities.partners import PARTNERS, load_partners
from activities.partners.partner import Partner
from activities.store.store import Store
from activities.strength import SHORTEST_CALLBACK_KEY, is_patterned_key, is_weak_key
from activities.variables import VARIABLES
from workflows.contract import TOKEN_VERSIONS

DEFAULT_TASK_QUEUE: Final = "stagehook"
IP_AND_PORT: Final = re.compile(r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")
NEW_KEY: Final = "`stagehook key generate`"


@dataclass(frozen=True)
class Settings:
    """Checked settings.

    public_url: the base URL at which partners reach the receiver; never taken from a request.
    callback_keys: keys of callback tokens; the first key signs, all keys verify.
    partners: the enabled partners by name.
    token_version: the version of callback tokens of new runs.
    task_queue: the task queue that the worker polls.
    store: where deliveries and calls are kept, or None to keep none.
    build: the version of the code.
    worker_metrics: the address at which the worker shows its metrics, or "".
    logs: how the processes log.
    host, port, processes: the receiver's listening address and number of processes.
    """

    public_url: str
    callback_keys: tuple[str, ...] = field(repr=False)
    partners: Mapping[str, Partner] = field(repr=False)
    token_version: int
    task_queue: str
    store: Store | None
    build: Build
    worker_metrics: str
    logs: LogSettings
    host: str
    port: int
    processes: int

    @classmethod
    def from_env(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings; raises `SettingsError` with all faults at once."""
        env = Environment(variables)
        settings = cls.read(env)
        env.check()
        return settings

    @classmethod
    def read(cls, env: Environment) -> Self:
        """Read the settings and add each fault to `env`; do not use the settings if there are faults."""
        public_url = env.url("PUBLIC_URL", fix=VARIABLES["PUBLIC_URL"])
        local = is_loopback(public_url)
        development = read_development(env)
        partners = load_partners(env.names("PARTNERS", fix=f"enable some of {', '.join(PARTNERS)}"), env)
        if public_url and not local and not development:
            for name in (name for name, partner in partners.items() if partner.loopback_only):
                env.fault("PARTNERS", f"names {name}, only for tests", "only a loopback PUBLIC_URL may enable it")
        store = Store.read(env, "" if development else public_url)
        if store is None:
            for name in (name for name, partner in partners.items() if partner.needs_store):
                env.fault("PARTNERS", f"names {name}, whose file needs a store", "set DATABASE_URL for web and worker")
        return cls(
            public_url=public_url,
            store=store,
            callback_keys=read_callback_keys(env, public=bool(public_url) and not local),
            partners=partners,
            token_version=read_token_version(env),
            task_queue=env.text("TASK_QUEUE", fix=VARIABLES["TASK_QUEUE"], default=DEFAULT_TASK_QUEUE),
            build=Build.read(env),
            worker_metrics=read_worker_metrics(env),
            logs=LogSettings.read(env),
            # A public receiver must be reachable from a router on another machine; a local receiver must not.
            host="127.0.0.1" if local or development else "0.0.0.0",  # noqa: S104
            port=env.number("PORT", fix=VARIABLES["PORT"], default=8000, least=1, most=65535),
            processes=env.number("WEB_CONCURRENCY", fix=VARIABLES["WEB_CONCURRENCY"], default=1, least=1, most=100),
        )


def read_development(env: Environment) -> bool:
    """Whether DEVELOPMENT is 1: a public PUBLIC_URL is then a tunnel's, and may go with the sample partners and SQLite.

    A production system cannot run with it by accident: its receiver listens on loopback only, and a Temporal on another
    machine becomes a fault.
    """
    if env.optional("DEVELOPMENT") != "1":
        return False
    if not is_loopback(f"http://{env.optional('TEMPORAL_ADDRESS')}"):
        problem = "is 1, but TEMPORAL_ADDRESS does not name this machine"
        env.fault("DEVELOPMENT", problem, "leave it out in production; `stagehook dev` sets it beside a Temporal here")
    return True


def read_worker_metrics(env: Environment) -> str:
    """Return the address of WORKER_METRICS, or "". Anything other than an IP address and a port becomes a fault."""
    address = env.optional("WORKER_METRICS")
    if address and not IP_AND_PORT.fullmatch(address):
        env.fault("WORKER_METRICS", "is not IP:PORT", "use an address such as 127.0.0.1:9464")
    return address


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
