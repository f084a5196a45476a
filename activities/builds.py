"""The build that a process runs, for logs, metrics, and Temporal's worker versioning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion

from activities.environment import Environment

if TYPE_CHECKING:
    from temporalio.worker import WorkerDeploymentConfig

BUILD_ID: Final = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99}")
NOT_IN_A_NAME: Final = re.compile(r"[.:]")
"""Temporal joins the deployment's name and the build's id by one of these."""


@dataclass(frozen=True)
class Build:
    """A build of this code. id: such as the id of the deployed commit, or "". versioned: whether workers use it."""

    id: str = ""
    versioned: bool = False

    @classmethod
    def read(cls, env: Environment) -> Self:
        """Read BUILD_ID and WORKER_VERSIONING; invalid values become faults of `env`."""
        build = cls(env.optional("BUILD_ID"), env.optional("WORKER_VERSIONING") == "1")
        if build.id and not BUILD_ID.fullmatch(build.id):
            fix = "use at most 100 letters, digits and . _ + -, such as the id of the deployed commit"
            env.fault("BUILD_ID", "is not an id of a build", fix)
        if build.versioned and not build.id:
            env.fault("BUILD_ID", "is not set, but WORKER_VERSIONING is 1", "set it to the id of the deployed commit")
        return build

    @property
    def facts(self) -> Mapping[str, str]:
        """The build as a fact of a log line or a label of a metric; empty without an id."""
        return {"build_id": self.id} if self.id else {}

    def deployment(self, task_queue: str) -> WorkerDeploymentConfig | None:
        """Return what a worker says to Temporal about its version; None without an id.

        Only with `versioned`, Temporal gives the worker no runs before an operator has made the version current.
        """
        if not self.id:
            return None
        # Imported only in a worker: loading it takes longer than most commands.
        from temporalio.worker import WorkerDeploymentConfig

        version = WorkerDeploymentVersion(NOT_IN_A_NAME.sub("-", task_queue), self.id)
        if not self.versioned:
            return WorkerDeploymentConfig(version, use_worker_versioning=False)
        # Runs last for weeks and replay under later versions, so they move to the current version.
        moving = VersioningBehavior.AUTO_UPGRADE
        return WorkerDeploymentConfig(version, use_worker_versioning=True, default_versioning_behavior=moving)


NO_BUILD: Final = Build()
