"""The workflow runner: decodes what clients send so that undecodable bytes cannot block a run, and applies the sandbox.

If an argument of a run cannot be decoded, the SDK fails the workflow task again and again. Examples are bytes that are
not JSON, an unknown encoding, and JSON with thousands of levels. Here such an argument is decoded as the exception that
was raised, and `workflows.checking` ends the run with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import _Definition


class GuardedConverter(PayloadConverter):
    """Decodes an undecodable payload as the exception that was raised, if there are no type hints."""

    def __init__(self, inner: PayloadConverter) -> None:
        self._inner = inner

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Encode with the inner converter."""
        return self._inner.to_payloads(values)

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Decode. The inner converter alone decodes values with type hints, which Stagehook itself has written."""
        if type_hints is not None:
            return self._inner.from_payloads(payloads, type_hints)
        return [self._read(payload) for payload in payloads]

    def _read(self, payload: Payload) -> Any:
        try:
            return self._inner.from_payloads([payload])[0]
        except Exception as error:
            return error


@dataclass(frozen=True)
class GuardedRunner(SandboxedWorkflowRunner):
    """The SDK's sandbox with a `GuardedConverter`.

    audited: modules whose workflow classes run outside the sandbox.
    """

    audited: frozenset[str] = frozenset()

    def prepare_workflow(self, defn: _Definition) -> None:
        """Check that the sandbox can import the workflow's module, if it is to."""
        if defn.cls.__module__ not in self.audited:
            super().prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Create a workflow: in its sandbox, or outside if its class's module is audited."""

        def converter() -> PayloadConverter:
            return GuardedConverter(det.payload_converter_factory())

        guarded = replace(det, payload_converter_factory=converter)
        if det.defn.cls.__module__ in self.audited:
            return self.runner_class().create_instance(guarded)
        return super().create_instance(guarded)
