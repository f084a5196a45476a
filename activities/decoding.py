"""Decoding what others have sent to a workflow, so that no bytes block a run.

The SDK fails the workflow task, again and again, when an argument of a run cannot be decoded: bytes that are not JSON,
an unknown encoding, JSON that is nested thousands of levels deep. Here such a value is read as the exception that says
why; `workflows.checking` ends the run with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner


class GuardedConverter(PayloadConverter):
    """Reads a payload that cannot be decoded as the exception that was raised, where no type is asked for."""

    def __init__(self, inner: PayloadConverter) -> None:
        self._inner = inner

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Encode as the inner converter does."""
        return self._inner.to_payloads(values)

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Decode; with type hints, which come with what we have written ourselves, as the inner converter does."""
        if type_hints is not None:
            return self._inner.from_payloads(payloads, type_hints)
        return [self._read(payload) for payload in payloads]

    def _read(self, payload: Payload) -> Any:
        try:
            return self._inner.from_payloads([payload])[0]
        except Exception as error:
            return error


class GuardedRunner(SandboxedWorkflowRunner):
    """The SDK's sandbox with a `GuardedConverter`."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """A workflow in its sandbox."""

        def converter() -> PayloadConverter:
            return GuardedConverter(det.payload_converter_factory())

        return super().create_instance(replace(det, payload_converter_factory=converter))
