"""A Temporal that cannot be used: every cause is a sentence of its own with its way out, wherever it shows.

Temporal runs behind a proxy that asks for TLS and an API key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities import connection_errors as causes
from activities.builds import Build
from activities.calls import PartnerCalls
from activities.client import TemporalUnreachable, connect
from activities.connection_errors import CAUSES, ConnectionCause, ConnectionFault
from activities.settings import Settings
from activities.store import migrations
from activities.store.database import Database
from activities.store.store import Store
from activities.worker import Lane, LanedWorker, WorkerStopped
from receiver.app import create_app
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import stagehook_command
from receiver.cli.worker.health import WorkerHealth
from receiver.cli.worker.running import _run
from receiver.sending.signals import Signals, TemporalAway
from receiver.timing import DEFAULT_TIMING
from tests.commands import command
from tests.local_stack import eventually, run_command, running
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, partners
from tests.parts.guarded import GOOD, READER, UNKNOWN, Guarded
from tests.parts.strangers import hanging_up, mute, refusing
from tests.support import KEY, SOON
from workflows.lanes import call_lane

ROOT = Path(__file__).parents[1]
Env = dict[str, Any]
OURS = {
    "PUBLIC_URL": "http://127.0.0.1:9",
    "CALLBACK_KEYS": KEY,
    "PARTNERS": "sandbox",
    "SANDBOX_URL": "http://127.0.0.1:9",
}

REFUSALS: dict[str, tuple[ConnectionCause, Callable[[Guarded], Env]]] = {
    "a wrong key": (causes.API_KEY_REFUSED, lambda g: g.env(key=UNKNOWN)),
    "no key": (causes.API_KEY_MISSING, lambda g: g.env(key="", TEMPORAL_TLS="true")),
    "a missing permission": (causes.PERMISSION_DENIED, lambda g: g.env(key=READER)),
    "an untrusted certificate": (causes.UNTRUSTED, lambda g: g.env(trusted=False)),
    "another host's certificate": (causes.OTHER_HOST, lambda g: g.env("other-host")),
    "an expired certificate": (causes.EXPIRED_CERTIFICATE, lambda g: g.env("expired")),
    "no client certificate": (causes.CLIENT_CERTIFICATE_MISSING, lambda g: g.env("mutual")),
    "a stranger's certificate": (
        causes.CLIENT_CERTIFICATE_REFUSED,
        lambda g: {**g.env("mutual"), **g.certified("stranger")},
    ),
    "plaintext to TLS": (causes.TLS_REQUIRED, lambda g: g.env(TEMPORAL_TLS="false")),
    "TLS to plaintext": (causes.TLS_UNSUPPORTED, lambda g: g.env("plain")),
}
"""What waiting does not help against."""

OUTAGES: dict[str, tuple[ConnectionCause, Callable[[Guarded], Env]]] = {
    "a name that does not resolve": (
        causes.UNKNOWN_NAME,
        lambda g: g.env(TEMPORAL_ADDRESS="temporal.invalid:7233"),
    ),
    "nothing listening": (causes.NOTHING_LISTENS, lambda g: g.env(TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")),
    "a missing namespace": (causes.NAMESPACE_MISSING, lambda g: g.env(TEMPORAL_NAMESPACE="missing")),
}
"""What may pass: Temporal starts, its name is published, its namespace is created."""

CASES = REFUSALS | OUTAGES
EACH = pytest.mark.parametrize(("cause", "made"), CASES.values(), ids=CASES.keys())


@pytest.fixture
def stage_env(monkeypatch: pytest.MonkeyPatch) -> Callable[[Env], None]:
    """Sets this process's environment."""

    def enter(env: Env) -> None:
        for name, value in {**env, **OURS}.items():
            monkeypatch.setenv(name, value)

    return enter


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the worker cheap: without workflows to check, and with a build id, or the SDK hashes every module."""

    def build(
        client: Client, calls: PartnerCalls, *, task_queue: str, lanes: Sequence[Lane], build: Build
    ) -> LanedWorker:
        version = WorkerDeploymentVersion(task_queue, "small")
        small = WorkerDeploymentConfig(version=version, use_worker_versioning=False)
        queues = [task_queue, *(call_lane(task_queue, lane.partner.name) for lane in lanes)]
        call = [calls.call_partner]
        workers = [Worker(client, task_queue=queue, activities=call, deployment_config=small) for queue in queues]
        return LanedWorker(workers)

    monkeypatch.setattr("activities.worker.build_worker", build)


@EACH
def test_a_command_says_what_is_wrong_and_what_to_do(
    guarded: Guarded, cause: ConnectionCause, made: Callable[[Guarded], Env]
) -> None:
    env = made(guarded)
    done = command("pipeline", "show", "some-run", **env)
    where = f"error: Temporal at {env['TEMPORAL_ADDRESS']}, namespace {env['TEMPORAL_NAMESPACE']}: "
    assert done.err.startswith(f"{where}{cause.says}")
    assert f"  try: {cause.fix}" in done.err.splitlines()
    assert done.code == 7
    assert secrets_in(done.err) == []


@EACH
def test_doctor_says_what_is_wrong_and_what_to_do(
    guarded: Guarded, cause: ConnectionCause, made: Callable[[Guarded], Env]
) -> None:
    env = made(guarded)
    done = command("doctor", "--json", **env)
    [found] = [one for one in json.loads(done.out) if one["subject"] == "temporal"]
    assert (found["ok"], found["fix"]) == (False, cause.fix)
    assert (
        f"Temporal at {env['TEMPORAL_ADDRESS']}, namespace {env['TEMPORAL_NAMESPACE']}: {cause.says}" in found["says"]
    )
    assert secrets_in(done.out) == []


@EACH
async def test_a_receiver_without_a_store_says_the_cause(
    guarded: Guarded, cause: ConnectionCause, made: Callable[[Guarded], Env], caplog: pytest.LogCaptureFixture
) -> None:
    env = made(guarded)
    app = create_app(URLS, partners(), signals(env))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http:
        ready = await http.get("/readyz")
        callback = await http.post(URLS.issue(CLAIMS), json=DONE)
    assert (ready.status_code, ready.json()) == (
        503,
        {"ready": False, "why": f"Temporal: {cause.says}", "temporal": cause.word},
    )
    assert callback.status_code == 503
    away, *_ = logged(caplog, "temporal-away")  # a second try may only see that the connection is closed
    assert (away["cause"], away["fix"]) == (cause.word, cause.fix)
    assert away["why"].startswith(f"Temporal at {env['TEMPORAL_ADDRESS']}, namespace {env['TEMPORAL_NAMESPACE']}: ")
    assert secrets_in(f"{caplog.text} {away}") == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("cause", "made"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_worker_that_temporal_refuses_ends(
    guarded: Guarded, cause: ConnectionCause, made: Callable[[Guarded], Env], stage_env: Callable[[Env], None]
) -> None:
    stage_env(made(guarded))
    with pytest.raises(TemporalUnreachable) as raised:
        await asyncio.wait_for(_run(Settings.from_env(OURS), WorkerHealth()), 3 * SOON)
    assert raised.value.fault.cause is cause


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("cause", "made"), OUTAGES.values(), ids=OUTAGES.keys())
async def test_a_worker_waits_for_what_may_pass(
    guarded: Guarded,
    cause: ConnectionCause,
    made: Callable[[Guarded], Env],
    stage_env: Callable[[Env], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage_env(made(guarded))
    async with background(_run(Settings.from_env(OURS), WorkerHealth())):
        await until(lambda: logged(caplog, "temporal-away"))
    away = logged(caplog, "temporal-away")[0]
    assert (away["cause"], away["fix"], away["again_in"]) == (cause.word, cause.fix, 1.0)


async def test_a_worker_that_has_run_waits_for_a_refusal_to_pass(
    stage_env: Callable[[Env], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ConnectionFault(causes.API_KEY_REFUSED)
    runs = AsyncMock(side_effect=[WorkerStopped("refused", refused), TemporalUnreachable("refused", refused), None])
    monkeypatch.setattr("receiver.cli.worker.running.connect", AsyncMock())
    monkeypatch.setattr("receiver.cli.worker.running.run_worker", runs)
    monkeypatch.setattr("receiver.cli.worker.running.AGAIN_SECONDS", (0.01, 0.02))
    stage_env({})
    await _run(Settings.from_env(OURS), WorkerHealth())
    assert [away["again_in"] for away in logged(caplog, "temporal-away")] == [0.01, 0.02]


@pytest.mark.usefixtures("small")
@pytest.mark.fault  # the SDK fails only after a minute of polls that were refused
@pytest.mark.timeout(400)  # the SDK asks for nearly two minutes before it gives up
async def test_a_worker_whose_key_expires_waits_and_goes_on(
    guarded: Guarded, stage_env: Callable[[Env], None], caplog: pytest.LogCaptureFixture
) -> None:
    key = a_new_key(guarded)
    stage_env(guarded.env(key=key))
    caplog.set_level(logging.INFO)
    async with background(_run(Settings.from_env(OURS), WorkerHealth())) as worker:
        await until(lambda: polls(guarded, key))
        guarded.expired.add(key)
        await until(lambda: logged(caplog, "temporal-away"), within=150)
        guarded.expired.discard(key)
        await until(lambda: len(logged(caplog, "started")) == 2)
        assert not worker.done()
    away = logged(caplog, "temporal-away")[0]
    assert (away["cause"], away["again_in"]) == (causes.API_KEY_REFUSED.word, 1.0)
    assert "API key expired" in away["why"]


async def test_a_store_keeps_callbacks_while_a_key_is_refused(
    guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = a_new_key(guarded)
    guarded.expired.add(key)
    store = Store(Database(f"sqlite:///{tmp_path}/deliveries.db"))
    migrations.upgrade(store.database)
    async with serving(signals(guarded.env(key=key)), store) as http:
        await until(lambda: logged(caplog, "temporal-away"))
        kept = await http.post(URLS.issue(CLAIMS), json=DONE)
        ready = await http.get("/readyz")
        guarded.expired.discard(key)
        await until(lambda: logged(caplog, "temporal-back"))
        assert (await http.get("/readyz")).json() == {"ready": True}
    assert kept.status_code == 202
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "temporal": causes.API_KEY_REFUSED.word})
    assert [one["cause"] for one in logged(caplog, "temporal-away")] == [causes.API_KEY_REFUSED.word]


async def test_without_a_store_an_expired_key_is_said_once(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    key = a_new_key(guarded)
    async with serving(signals(guarded.env(key=key))) as http:
        assert (await http.get("/readyz")).json() == {"ready": True}
        guarded.expired.add(key)
        answers = [(await http.post(URLS.issue(CLAIMS), json=DONE)).status_code for _ in range(3)]
        guarded.expired.discard(key)
        assert (await http.get("/readyz")).json() == {"ready": True}
    assert answers == [503] * 3
    assert [one["cause"] for one in logged(caplog, "temporal-away")] == [causes.API_KEY_REFUSED.word]
    assert len(logged(caplog, "temporal-back")) == 1


@pytest.mark.parametrize("status", [403, 404, 502])
async def test_a_proxy_that_answers_in_temporals_place_is_told(status: int) -> None:
    with refusing(status) as address:
        fault = await fault_of(signals({"TEMPORAL_ADDRESS": address}), within=3 * SOON)
    assert (fault.cause, fault.detail) == (causes.ANOTHER_SERVER, f"HTTP status {status}")


@pytest.mark.parametrize(
    ("greets", "tls", "cause"),
    [(True, "true", causes.TLS_UNSUPPORTED), (False, "true", causes.CLOSED), (False, "false", causes.CLOSED)],
)
async def test_a_server_that_hangs_up_is_looked_at(greets: bool, tls: str, cause: ConnectionCause) -> None:
    with hanging_up(greets=greets) as address:
        fault = await fault_of(signals({"TEMPORAL_ADDRESS": address, "TEMPORAL_TLS": tls}), within=3 * SOON)
    assert fault.cause is cause


@pytest.mark.parametrize("tls", ["true", "false"])
async def test_a_server_that_stays_mute_is_told(tls: str) -> None:
    with mute() as address:
        fault = await fault_of(signals({"TEMPORAL_ADDRESS": address, "TEMPORAL_TLS": tls}))
    assert fault.cause is causes.NO_ANSWER_IN_TIME


@pytest.mark.parametrize(
    ("door", "changes"),
    [
        ("tls", {}),
        ("mutual", Guarded.certified),
        ("other-host", {"TEMPORAL_TLS_SERVER_NAME": "other.example"}),
        ("plain", {"TEMPORAL_TLS": "false"}),
    ],
)
def test_the_way_out_leads_to_temporal(guarded: Guarded, door: str, changes: Any) -> None:
    env = {**guarded.env(door), **(changes(guarded) if callable(changes) else changes)}
    done = command("pipeline", "show", "some-run", **env)
    assert (done.code, done.err.splitlines()[0]) == (4, "error: no open or recent run has the id some-run")


@pytest.mark.system
def test_a_receiver_says_where_it_connects_and_as_whom(guarded: Guarded, tmp_path: Path) -> None:
    env = {**guarded.env(), **OURS, "PORT": str(free_port())}
    log = tmp_path / "web.log"
    with running(stagehook_command("serve"), env, log):
        eventually(lambda: status_of(f"http://127.0.0.1:{env['PORT']}/readyz") == 200, within=150)
    assert f"INFO stagehook.server temporal {where(env)}stagehook-receiver\n" in log.read_text()
    assert secrets_in(log.read_text()) == []


@pytest.mark.system
def test_a_worker_says_where_it_connects_and_exits_with_7(guarded: Guarded) -> None:
    env = {**guarded.env(key=UNKNOWN), **OURS}
    done = run_command("worker", env=env)
    said = done.stderr.decode()
    assert done.returncode == 7
    assert re.search(f"INFO stagehook.worker temporal {re.escape(where(env))}[0-9]+@.+$", said, re.MULTILINE)
    assert f"error: Temporal at {env['TEMPORAL_ADDRESS']}, namespace default: the API key is wrong" in said
    assert secrets_in(said) == []


def test_every_cause_has_a_word_of_its_own_in_the_docs() -> None:
    rows = (ROOT / "docs/deploy.md").read_text().splitlines()
    for cause in CAUSES:
        [row] = [row for row in rows if row.startswith(f"| `{cause.word}` |")]
        assert row.endswith("| exits with 7 |" if cause.is_final else "| waits |")
    assert len({cause.word for cause in CAUSES}) == len({cause.says for cause in CAUSES}) == len(CAUSES)


# --- helpers


def signals(env: Env) -> Signals:
    return Signals(lambda: connect(env, lazy=True))


async def fault_of(signals: Signals, within: float = 0.5) -> ConnectionFault:
    with pytest.raises(TemporalAway) as raised:
        await signals.check(within=within)
    assert raised.value.fault
    return raised.value.fault


def where(env: Env) -> str:
    return f"address={env['TEMPORAL_ADDRESS']} namespace=default tls=on identity="


def secrets_in(text: str) -> list[str]:
    return [key for key in (GOOD, READER, UNKNOWN, KEY) if key in text]


def a_new_key(guarded: Guarded) -> str:
    key = f"a-key-{uuid.uuid4().hex}"
    guarded.keys.add(key)
    return key


def polls(guarded: Guarded, key: str) -> bool:
    """Whether a worker with this key has asked for tasks."""
    return any(other == key and b"/Poll" in path for other, path in list(guarded.asked))


def logged(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == event]


async def until(holds: Callable[[], Any], within: float = 3 * SOON) -> None:
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Do the work while the block runs, and then stop it."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def serving(signals: Signals, store: Store | None = None) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(URLS, partners(), signals, store=store, timing=replace(DEFAULT_TIMING, finding_lasts=0.0))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


def status_of(url: str) -> int:
    try:
        return httpx.get(url, trust_env=False).status_code
    except httpx.TransportError:
        return 0
