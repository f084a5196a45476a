"""A client whose runtime counts, and what it has counted."""

from __future__ import annotations

from prometheus_client.core import Metric
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.client import make_runtime
from activities.worker_metrics import WorkerMetrics


async def counting_client(env: WorkflowEnvironment) -> tuple[Client, WorkerMetrics]:
    """A client of the environment's server and namespace."""
    counted = WorkerMetrics()
    address = env.client.service_client.config.target_host
    runtime = make_runtime(counted.buffer)
    return await Client.connect(address, namespace=env.client.namespace, runtime=runtime), counted


def counts(metrics: list[Metric], name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of this name by the values of these labels."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name == name
    }
