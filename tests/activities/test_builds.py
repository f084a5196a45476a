"""BUILD_ID and WORKER_VERSIONING: what is refused, and which runs a real server gives to a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentVersionRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities.builds import Build
from activities.calls import PartnerCalls
from activities.environment import Environment, SettingsError
from activities.partners import sandbox
from activities.worker import Lane, build_worker
from tests.parts.temporal import BINARIES
from tests.support import QUEUE, RUN_TIMEOUT, ScriptedPartner, call_back, result_of, stage, start, waiting


def read(**variables: str) -> Build:
    env = Environment(variables)
    build = Build.read(env)
    env.check()
    return build


def test_without_an_id_nothing_is_said_of_a_build() -> None:
    build = read()
    assert (build, build.facts, build.deployment("stagehook")) == (Build("", versioned=False), {}, None)


def test_an_id_alone_does_not_version_workers() -> None:
    build = read(BUILD_ID=" 0a1b2c3 ", WORKER_VERSIONING="0")
    deployment = build.deployment("stagehook")
    assert build.facts == {"build_id": "0a1b2c3"}
    assert deployment is not None
    assert (deployment.version.build_id, deployment.use_worker_versioning) == ("0a1b2c3", False)


def test_versioning_without_an_id_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="BUILD_ID is not set, but WORKER_VERSIONING is 1: set it"):
        read(WORKER_VERSIONING="1")


@pytest.mark.parametrize("given", ["a b", "é", ".a", "a\n b", "a" * 101, "a:b"])
def test_an_id_that_logs_or_temporal_could_not_take_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="BUILD_ID is not an id of a build"):
        read(BUILD_ID=given)


@pytest.fixture
async def versioning() -> AsyncIterator[WorkflowEnvironment]:
    """A real server with Temporal's own workers, which keep the versions; the one that tests share has none."""
    temporal = str(BINARIES / "temporal")
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=temporal, dev_server_log_level="error"
    ) as env:
        yield env


def lane(name: str, calls: PartnerCalls) -> Lane:
    return Lane(sandbox.partner(name, Environment({"SANDBOX_URL": "http://sandbox.test"})), calls)


async def described(env: WorkflowEnvironment, version: WorkerDeploymentVersion) -> Any:
    """The version, as soon as the server knows it from its worker."""
    request = DescribeWorkerDeploymentVersionRequest(namespace=env.client.namespace, deployment_version=version)
    async with asyncio.timeout(RUN_TIMEOUT):
        while True:
            try:
                return await env.client.workflow_service.describe_worker_deployment_version(request)
            except RPCError:
                await asyncio.sleep(0.1)


@pytest.mark.system
async def test_a_versioned_worker_waits_until_its_version_is_current(versioning: WorkflowEnvironment) -> None:
    partner, build = ScriptedPartner(), Build("0a1b2c3", versioned=True)
    version = WorkerDeploymentVersion(deployment_name=QUEUE, build_id=build.id)
    calls = cast(PartnerCalls, partner)
    async with build_worker(versioning.client, calls, task_queue=QUEUE, lanes=[lane("partner-1", calls)], build=build):
        handle = await start(versioning.client, stage(1))
        await described(versioning, version)
        before = (await handle.describe()).history_length
        await versioning.client.workflow_service.set_worker_deployment_current_version(
            SetWorkerDeploymentCurrentVersionRequest(
                namespace=versioning.client.namespace, deployment_name=QUEUE, build_id=build.id
            )
        )
        await waiting(handle)
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    assert before == 2  # started, and its first task scheduled


@pytest.mark.parametrize("queue", [pytest.param(QUEUE, marks=pytest.mark.system), "a.queue:of-ours"])
async def test_an_unversioned_worker_with_an_id_gets_runs_at_once(real: WorkflowEnvironment, queue: str) -> None:
    """Temporal notes the id with each task that the worker completes."""
    partner = ScriptedPartner()
    build = Build("v1.2+0a1b2c3")
    calls = cast(PartnerCalls, partner)
    async with build_worker(real.client, calls, task_queue=queue, lanes=[lane("b", calls)], build=build):
        handle = await real.client.start_workflow(
            "PipelineWorkflow",
            {"pipeline": {"name": "x", "stages": [{"number": 1, "name": "a", "partner": "b", "timeout": 60}]}},
            id="run",
            task_queue=queue,
        )
        await waiting(handle)
        history = [event.workflow_task_completed_event_attributes async for event in handle.fetch_history_events()]
    assert {one.deployment_version.build_id or one.worker_version.build_id for one in history if one.identity} == {
        build.id
    }
