"""A whole local system with the console in web, with runs in each state, and deliveries of each verdict."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

from temporalio.client import Client

from activities.lanes import Hold, hold_lane, release_lane
from activities.runs import Runs
from activities.store.database import Database
from receiver.answers import Verdict
from receiver.cli.demo import stack as stack_module
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import stagehook_command
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate, digest, new_id
from tests.local_stack import Local, eventually, local_system, running
from tests.parts.deliveries import delivery
from tests.parts.endings import said
from tests.parts.local_runs import begin
from workflows.contract import Pipeline, Stage
from workflows.lanes import ask_lane

PLAYS = {"identity": ["later"], "bank": ["never"], "esign": ["later"], "cards": ["later"]}

MARKUP = '<script>alert(1)</script><img src="https://elsewhere.example/x.png" onerror="alert(2)"><style>*{display:none}'
HOSTILE_RUN = "run \"<b>' & \u202ereversed\u202c \x1b[31m"

HOSTILE_BODIES: dict[str, bytes] = {
    "markup": f"{MARKUP}<meta http-equiv=refresh content='0;url=https://elsewhere.example/'></pre></main>".encode(),
    "right-to-left": "\u202e\u2067abc\u061c\u200f שלום".encode(),
    "controls": b"a\0b\x1b]52;c;YQ==\x07\x9b",
    "not-utf-8": bytes(range(256)),
    "a-mebibyte": b"wide " + b"w" * (1024 * 1024 - 5),
    "json": b'{"status": "succeeded", "data": {"name": "</pre><script>alert(3)</script>"}}',
    "empty": b"",
}


CONSOLE_PAGES: dict[str, str] = {
    "waiting": "/",
    "waiting-filtered": "/?partner=bank&state=needs_person&due=2h",
    "waiting-none": "/?partner=nobody",
    "runs": "/runs",
    "runs-failed": "/runs?failed_with=callback&since=1d",
    "run-waits": "/run?id=waits",
    "run-needs-a-person": "/run?id=needs-a-person",
    "run-failed": "/run?id=failed",
    "run-completed": "/run?id=completed",
    "run-hostile": f"/run?{urlencode({'id': HOSTILE_RUN})}",
    "order-extend": "/run/order?id=waits&order=extend&stage=1",
    "order-succeed": "/run/order?id=waits&order=succeed&stage=1",
    "order-cancel": "/run/order?id=waits&order=cancel&stage=0",
    "order-resume": "/run/order?id=failed&order=resume&stage=0",
    "order-impossible": "/run/order?id=completed&order=cancel&stage=0",
    "deliveries": "/deliveries",
    "deliveries-filtered": "/deliveries?verdict=unproven&verdict=gone&refused=1&since=2h&partner=bank",
    "deliveries-none": "/deliveries?partner=nobody",
    "delivery-accepted": "/delivery?id={verdict-accepted}",
    "delivery-unproven": "/delivery?id={verdict-unproven}",
    "delivery-unknown": "/delivery?id={verdict-unknown}",
    "delivery-parked": "/delivery?id={fate-parked}",
    "delivery-taken": "/delivery?id={taken}",
    "partners": "/partners",
}
"""The pages by name. `{NAME}` is the id of the delivery of that name."""

STATUSES = {"order-impossible": 409}
"""The statuses of pages whose answer is not 200."""


@dataclass
class ConsoleSystem:
    """local: the system. base: the console's address. ids: of some deliveries, by what they are."""

    local: Local
    base: str
    password: str
    ids: dict[str, str]

    def path(self, name: str) -> str:
        """The path of a page in `CONSOLE_PAGES`."""
        return re.sub(r"\{(.+)\}", lambda found: self.ids[found[1]], CONSOLE_PAGES[name])

    def start(self, name: str) -> str:
        """Start a run of five stages that wait for the bank; return its id."""
        run = f"{name}-{secrets.token_hex(4)}"
        in_thread(lambda: begin(self.local, run, *({"partner": "bank", "on_failure": "fail"} for _ in range(5))))
        self.wait_until_called(run, 1)
        return run

    def wait_until_called(self, run: str, stage: int) -> None:
        """Wait until the partner has taken the call of a stage."""
        in_thread(lambda: eventually(lambda: stage_of(self.local, run, stage).get("reference")))

    def wait_for_status(self, run: str, status: str) -> None:
        """Wait until the run has ended so."""
        in_thread(
            lambda: eventually(lambda: said(self.local.command("pipeline", "show", run, "--json"))["status"] == status)
        )

    def wait_until_taken(self, id_: str) -> None:
        """Wait until Temporal has taken a delivery that was released."""
        show = ("delivery", "show", id_, "--json")
        in_thread(lambda: eventually(lambda: said(self.local.command(*show))["fate"] == "taken"))

    @contextmanager
    def overdue_run(self) -> Iterator[str]:
        """A run past its deadline, which waits because its partner cannot be asked: those questions are held."""
        lane = ask_lane("stagehook", "identity")
        stages = (Stage(1, "identity-check", "identity", timeout=2.0),)

        async def start() -> str:
            client = await Client.connect(self.local.stack.address)
            await hold_lane(client, lane, Hold("operator", "for a test", "ada"))
            pipeline = Pipeline("overdue", stages)
            run = await Runs(client).start(pipeline, {"signer": "play:never"}, task_queue="stagehook")
            return run.id

        async def end(run: str) -> None:
            client = await Client.connect(self.local.stack.address)
            await release_lane(client, lane, actor="ada", reason="")
            await Runs(client).cancel(run)

        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(lambda: asyncio.run(start())).result()
            try:
                yield run
            finally:
                thread.submit(lambda: asyncio.run(end(run))).result()

    @contextmanager
    def own_console(self, folder: Path, **changes: str) -> Iterator[str]:
        """`stagehook console`, a process beside the system; gives its port. changes: of the environment."""
        port, log = str(free_port()), folder / "console.log"
        env = {**self.local.stack.environment, "CONSOLE_PASSWORD": "", **changes}
        with running(stagehook_command("console", "--port", port), env, log):
            in_thread(lambda: eventually(lambda: "Uvicorn running" in log.read_text()))
            yield port

    def ledger(self, run: str) -> list[dict[str, Any]]:
        """What the ledger of the run's first stage holds."""
        entries: list[dict[str, Any]] = []
        in_thread(lambda: entries.extend(eventually(lambda: stage_of(self.local, run, 1))["ledger"]))
        return entries

    def add_deliveries(self, count: int, **changes: Any) -> None:
        """Add deliveries to the store."""
        store = Database(self.local.stack.environment["DATABASE_URL"])
        Archive(store).add([_delivery(**changes) for _ in range(count)])


def in_thread(work: Callable[[], object]) -> None:
    """Do it in a thread: an event loop, such as playwright's, runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(work).result()


@contextmanager
def console_system(folder: Path) -> Iterator[ConsoleSystem]:
    password, environment = secrets.token_urlsafe(32), stack_module.local_environment

    def with_console(*args: Any, **options: Any) -> dict[str, str]:
        return {**environment(*args, **options), "CONSOLE_PASSWORD": password}

    with (
        patch("receiver.cli.demo.stack.local_environment", with_console),
        local_system(folder, PLAYS, delay=0.05) as local,
    ):
        system = ConsoleSystem(local, f"{local.stack.public_url}/console", password, {})
        start_runs(local)
        fill_store(system)
        yield system


def start_runs(local: Local) -> None:
    """Start runs that end in each state."""
    begin(local, "waits", {"partner": "bank"})
    begin(local, HOSTILE_RUN, {"partner": "bank"})
    begin(local, "needs-a-person", {"partner": "bank", "timeout": 1, "on_timeout": "escalate"}, {"partner": "bank"})
    begin(local, "failed", {"partner": "bank", "timeout": 1})
    begin(local, "completed", {"partner": "identity"}, signer="play:at-once")
    customer = json.dumps(
        {"full_name": "Ada Lovelace", "date_of_birth": "1815-12-10", "iban": "DE89370400440532013000"}
    )
    for run in ("customer-1042", "customer-1043", "customer-1044"):
        said(local.command("pipeline", "start", "onboarding", "--id", run, "--input", customer, "--json"))
        eventually(lambda run=run: stage_of(local, run, 2).get("reference"))  # type: ignore[misc]
    for workflow_id, state in (("needs-a-person", "needs_person"), ("completed", "succeeded"), ("failed", "failed")):
        eventually(partial(is_in_state, local, workflow_id, state))


def is_in_state(local: Local, workflow_id: str, state: str) -> bool:
    """Whether the run's first stage is in this state, or has this outcome."""
    stage = stage_of(local, workflow_id, 1)
    return state in {stage.get("state"), stage.get("outcome")}


def stage_of(local: Local, workflow_id: str, number: int) -> dict[str, Any]:
    """A stage of a run as `pipeline show` has it; {} while no worker tells."""
    done = local.command("pipeline", "show", workflow_id, "--json")
    if done.returncode:  # a worker that has just started may not answer in time
        return {}
    stage: dict[str, Any] = json.loads(done.stdout)["progress"]["stages"][number - 1]
    return stage


def fill_store(system: ConsoleSystem) -> None:
    """Add a delivery of each verdict, fate and body, beside those that came of themselves."""
    store = Database(system.local.stack.environment["DATABASE_URL"])
    made = {f"verdict-{verdict.name.lower()}": of_verdict(verdict) for verdict in Verdict}
    made |= {f"fate-{fate.value}": of_fate(fate) for fate in Fate if fate.value}
    made |= {name: of_body(body, workflow_id=HOSTILE_RUN) for name, body in HOSTILE_BODIES.items()}
    packed = gzip.compress(b'{"status": "succeeded"}')
    made["gzip"] = of_body(packed, headers=(("content-encoding", "gzip"),))
    made["not-gzip"] = of_body(b"not gzip", headers=(("content-encoding", "gzip"),))
    made["headers"] = of_body(b"{}", headers=(("x-markup", MARKUP), ("x-wide", "w" * 8000), ("x-latin", "\x85\xad")))
    made["reason"] = of_verdict(Verdict.UNREADABLE, reason=f"{MARKUP} {'w' * 5000}", fate_reason="\u202e")
    Archive(store).add(list(made.values()))
    system.ids |= {name: one.id for name, one in made.items()}
    for name, run in (("taken", "completed"), ("onboarding", "customer-1042")):
        real = said(system.local.command("delivery", "list", "--workflow", run, "--json"))
        system.ids[name] = real[-1]["id"]


def of_verdict(verdict: Verdict, **changes: Any) -> Delivery:
    ours = {} if verdict not in {Verdict.UNKNOWN, Verdict.MALFORMED} else {"workflow_id": "", "stage": 0, "attempt": 0}
    return _delivery(verdict=verdict.name.lower(), status=verdict.status, **{**ours, **changes})


def of_fate(fate: Fate) -> Delivery:
    return _delivery(fate=fate, fate_reason=f"why it is {fate.value}", fate_at=time.time(), tries=3)


def of_body(body: bytes, **changes: Any) -> Delivery:
    return _delivery(body=body, body_size=len(body), body_digest=digest(body), **changes)


def _delivery(**changes: Any) -> Delivery:
    at = time.time() - 60
    target = "/callbacks/{unknown}" if changes.get("workflow_id") == "" else "/callbacks/{run/1/1}"
    return delivery(id=new_id(at), received_at=at, target=target, **changes)
