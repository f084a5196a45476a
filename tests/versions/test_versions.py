"""Two versions exchange runs, callbacks and rows: a deploy, a roll-back, and both side by side, under traffic.

The old version is the commit that `make versions` names, with its own dependencies. Runs rest in every state while
web and worker are replaced; callbacks are on their way meanwhile. Every run must finish as if nothing had happened.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from temporalio.client import WorkflowExecutionStatus

from activities.callback_urls import Claims
from tests.parts.polling import until
from tests.stores import Postgres
from tests.versions.checks import (
    Chains,
    answered_differently,
    doubled,
    error_of,
    failed_tasks,
    left_in_the_store,
    lost,
    settled_otherwise,
    unreplayable,
)
from tests.versions.deployment import RELEASE, Deployment, Versions, deployment
from tests.versions.partner import faults_of_calls
from tests.versions.shapes import SHAPES, Shape
from tests.versions.trees import Tree, new_tree, old_tree
from workflows.contract import ADVANCE_STAGE

pytestmark = [pytest.mark.versions, pytest.mark.timeout(600)]

SCENARIOS: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "old web, new worker": [("old", "old"), ("old", "new")],
    "new web, old worker": [("old", "old"), ("new", "old")],
    "deploy and roll-back": [("old", "old"), ("new", "new"), ("old", "old")],
    "side by side and roll-back": [("old", "old"), ("old new", "new"), ("old", "old")],
}
"""The versions of web and worker, one pair after the other."""

CUSTOMER: Final = {"full_name": "ada lovelace", "date_of_birth": "1815-12-10", "iban": "GB33BUKB20201555555555"}


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tree]:
    old = old_tree(os.environ.get("OLD", ""), tmp_path_factory.mktemp("old"))
    return {"old": old, "new": new_tree()}


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deliveries.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
async def system(tmp_path: Path, database_url: str) -> AsyncIterator[Deployment]:
    async with deployment(tmp_path, database_url) as system:
        yield system


class Traffic:
    """The runs of a test: in each phase a run of every shape is started, and all are watched until they end."""

    def __init__(self, system: Deployment) -> None:
        self.system = system
        self.runs: dict[str, tuple[Shape, int]] = {}
        self.phase = -1
        self.web_versions: set[str] = set()
        self._settled: list[dict[str, Any]] = []

    async def begin_phase(self, versions: Versions) -> None:
        """Start a run of every shape, and wait until every run rests where the next switch shall find it."""
        self.phase += 1
        self.web_versions |= {web.name for web in versions.webs}
        for shape in SHAPES:
            if not shape.old_worker_only or versions.worker.name == "old":
                self.runs[f"{shape.name}-{self.phase}"] = (shape, self.phase)
                await self._start(shape, versions.webs[-1])
        expected = {(id_, stage) for id_ in self.runs if (stage := self._resting_stage(id_))}
        partner = self.system.partner
        await until(lambda: expected <= partner.resting(), "rest", lambda: expected - partner.resting())
        await partner.repeat()

    async def _start(self, shape: Shape, tree: Tree) -> None:
        id_ = f"{shape.name}-{self.phase}"
        if shape.by_command:
            # The run must also go on under the old version, after a roll-back.
            older = ["--for-older-workers"] if tree.name == "new" else []
            given = json.dumps(CUSTOMER)
            await self.system.run(tree, "pipeline", "start", shape.name, "--id", id_, "--input", given, *older)
        else:
            await self.system.start_run(id_, shape.run_input())

    def _resting_stage(self, id_: str) -> int:
        """The stage at which a run rests in this phase, 0 for a run that is over."""
        shape, started = self.runs[id_]
        return dict(enumerate(shape.rests, start=started)).get(self.phase, 0)

    async def look(self) -> None:
        """Note how stages are settled by now."""
        self._settled.append(await self.system.progress(self.runs))

    async def advance(self) -> None:
        """End the waits that an operator is to end in this phase."""
        for id_, (shape, _) in self.runs.items():
            if shape.advanced and (stage := self._resting_stage(id_)):
                await self.system.client.get_workflow_handle(id_).signal(ADVANCE_STAGE, stage)

    async def finish(self) -> None:
        """Let every run end, and the store deliver what it has."""
        await self.advance()
        self.system.partner.go_on()
        for id_ in self.runs:
            await until(partial(self._has_ended, id_), f"the end of {id_}")
        await until(self.system.partner.is_idle, "the last callback")
        await until(lambda: not self.system.count("pending"), "an empty queue")
        await self.system.partner.repeat()
        await until(lambda: not self.system.count("pending"), "an empty queue")

    async def _has_ended(self, id_: str) -> bool:
        described = await self.system.client.get_workflow_handle(id_).describe()
        return described.status is not WorkflowExecutionStatus.RUNNING

    async def histories(self) -> Chains:
        """Every execution of every run."""
        return {id_: await self.system.histories(id_) for id_ in self.runs}

    async def faults(self, trees: Iterable[Tree]) -> list[str]:
        """Everything that does not hold of the finished runs."""
        await self.look()
        system, chains = self.system, await self.histories()
        partner = system.partner
        last = self._settled[-1]
        return [
            *self._unexpected(chains, last),
            *failed_tasks(chains),
            *lost(partner.ledger, chains, system.archive.every()),
            *doubled(chains, most=len(self.web_versions)),
            *answered_differently(partner.ledger),
            *partner.faults,
            *faults_of_calls(partner.works.values()),
            *left_in_the_store(system.archive.every()),
            *(fault for before in self._settled for fault in settled_otherwise(before, last)),
            *system.errors(),
            *system.dead(),
            *unreplayable(chains, trees, system.folder / "histories"),
        ]

    def _unexpected(self, chains: Chains, progress: Mapping[str, Any]) -> Iterator[str]:
        """Runs that ended in another way than their shape says."""
        for id_, (shape, started) in self.runs.items():
            settled = [(stage["outcome"], stage["cause"]) for stage in progress[id_]["stages"]]
            if settled != (expected := shape.settled(self.phase - started + 1)):
                yield f"{id_}: settled as {settled}, not {expected}"
            if (error := error_of(chains[id_])) != shape.error:
                yield f"{id_}: ended with {error or 'its result'}, not {shape.error or 'its result'}"
            if shape.continues and len(chains[id_]) == 1:
                yield f"{id_}: did not continue as new, so that no version took over what another one carried"


@pytest.mark.parametrize("name", SCENARIOS)
async def test_runs_in_flight_survive(system: Deployment, trees: dict[str, Tree], name: str) -> None:
    traffic = Traffic(system)
    for webs, worker in SCENARIOS[name]:
        versions = Versions([trees[web] for web in webs.split()], trees[worker])
        if traffic.phase >= 0:
            await traffic.look()
        await system.deploy(versions, traffic.advance)
        await traffic.begin_phase(versions)
        # The first switch stops processes, as a deploy does; the roll-back kills them.
        system.killing = traffic.phase > 0
    await traffic.finish()
    await traffic.look()
    # A query of a run that has ended replays it: the other version must tell the same.
    other = trees["old" if versions.worker.name == "new" else "new"]
    await system.deploy(replace(versions, worker=other))
    faults = await traffic.faults(trees.values())
    assert not faults, "\n".join(faults)


async def test_what_one_version_parks_the_other_releases(system: Deployment, trees: dict[str, Tree]) -> None:
    for parking, releasing in (("old", "new"), ("new", "old")):
        await system.run(trees[parking], *RELEASE)
        await system.replace_webs([trees[parking]])
        run = f"parked-by-{parking}"
        url = system.urls.issue(Claims(run, f"chain-{parking}", 1, 1, "sandbox", 1_790_000_000, 4_000_000_000))
        await system.stop_temporal()
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            assert (await http.post(url, json={"status": "succeeded"})).status_code == 202
        await system.start_temporal()
        await until(lambda: system.count("parked") == 1, "a delivery to an unknown run is parked")
        await system.run(trees[releasing], *RELEASE)
        await system.replace_webs([trees[releasing]])
        await system.start_run(run, SHAPES[0].run_input())
        await system.run(trees[releasing], "delivery", "release", "--fate", "parked")
        await until(lambda: system.count("taken") and not system.count("parked"), "the released delivery is taken")
    assert system.errors() == []


async def test_what_is_packed_is_sent_by_the_old_version_once_unpacked(
    system: Deployment, trees: dict[str, Tree]
) -> None:
    """Before that, the old version parks the delivery as unreadable, and keeps it."""
    old, new, run = trees["old"], trees["new"], "packed"
    await system.run(new, *RELEASE)
    system.env["PACK_DELIVERIES"] = "1"
    await system.replace_webs([new])
    await system.stop_temporal()
    url = system.urls.issue(Claims(run, "chain", 1, 1, "sandbox", 1_790_000_000, 4_000_000_000))
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        assert (await http.post(url, json={"status": "succeeded"})).status_code == 202
    await system.replace_webs([old])
    await system.start_temporal()
    await until(lambda: system.count("parked") == 1, "the packed delivery is parked")
    (parked,) = system.archive.every()
    assert parked.fate_reason.startswith("what is kept cannot be read")
    await system.run(new, "db", "unpack")
    await system.start_run(run, SHAPES[0].run_input())
    await system.run(old, "delivery", "release", "--fate", "parked")
    await until(lambda: system.count("taken") == 1, "the released delivery is taken")
    assert system.errors() == []


def test_each_version_runs_its_own_code(trees: dict[str, Tree]) -> None:
    for tree in trees.values():
        assert tree.home() == tree.folder
