"""SignalSenders: tells a run who sent a signal by hand, and why, as the signal's header says.

A header is beside the signal's arguments, so that every worker takes the signal, also one that reads no headers.
"""

from __future__ import annotations

import json

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.worker import (
    HandleSignalInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from workflows.commands import read_sender
from workflows.contract import SENDER_HEADER, SignalSender
from workflows.staged import StagedWorkflow


class SignalSenders(Interceptor):
    """The worker's interceptor; a worker of your own may have it too."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        """Return what sees each signal."""
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        run = workflow.instance()
        if isinstance(run, StagedWorkflow):
            # The handler does not wait, so no other signal comes between this line and the handler.
            run.note_sender(sender_in(input.headers.get(SENDER_HEADER)))
        await super().handle_signal(input)


def sender_in(header: Payload | None) -> SignalSender | None:
    """The sender in a header; None without a header, or if its text is not of our form. Never raises."""
    try:
        return read_sender(json.loads(header.data)) if header else None
    except (ValueError, RecursionError):
        return None
