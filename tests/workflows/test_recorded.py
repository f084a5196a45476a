"""What histories record keeps its names and values: a rename would drop state in the middle of a run.

Replay compares only the kinds of commands. Here, what today's code asks for is compared with what was recorded: each
activity's argument, each timer's duration, and each write of search attributes.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
from datetime import datetime
from typing import Any, Final

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import (
    Interceptor,
    Replayer,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.worker import _workflow_instance as instance

from activities.worker import WORKFLOWS, workflow_runner
from tests.workflows.classes import AtOnce
from tests.workflows.record_histories import FOLDER, SHAPES
from workflows import contract, stage_record

NAMES: Final = {
    "Answer": "status data code message",
    "Applied": "id stage what why at again",
    "Callback": "answer chain_id attempt issued_at",
    "Carried": "advanced_to ignored records commands",
    "Command": "id action stage actor reason seconds data attempt",
    "LedgerEntry": "what why at",
    "Outcome": "status cause at attempt data code message",
    "Pipeline": "name stages description",
    "PipelineResult": "pipeline outcomes",
    "Parent": "workflow_id stage chain_id attempt issued_at",
    "PipelineRun": "pipeline input carried contract parent token_version",
    "Progress": "pipeline chain_id stages advanced_to last_stage ignored",
    "Question": "call reference",
    "Receipt": "reference key answer askable note",
    "Stage": "number name partner timeout on_timeout attempts needs call_timeout call_within longest_wait on_failure "
    "retry_pause escalate_within ask_every",
    "StageCall": "workflow_id chain_id stage name partner attempt issued_at expires_at data repeated "
    "pipeline definition token_version",
    "SignalSender": "actor reason",
    "StageProgress": "number name partner state attempts called_at deadline outcome cause settled_at code message note "
    "ledger ledger_total expires_at reference outcome_attempt calls_again_at attempts_planned on_timeout on_failure "
    "trouble token_version",
    "StageRecord": "opened_at attempt issued_at expires_at in_call called_at note outcome ledger ledger_total "
    "waiting_since progressed_at timeout wait_cap reference askable ask_wanted asking asks asked_at on_failure trouble "
    "pause_until escalated_at escalate_within extended call_due prolonged ask_every token_version extended_to",
    "Trouble": "cause is_silence at attempt code message",
}
"""The fields of every recorded type. Add a field at the end of its line; never rename or remove one."""

CONSTANTS: Final = {
    "ADVANCE_STAGE": "advance_stage",
    "PROGRESS": "progress",
    "OUTCOMES": "outcomes",
    "SENDER_HEADER": "stagehook-sender",
    "OPERATE": "operate",
    "PIPELINE_WORKFLOW": "PipelineWorkflow",
    "REFUSED": "PartnerRefused",
    "NOT_REACHED": "PartnerNotReached",
    "COMMAND_REFUSED": "CommandRefused",
}
LATER: Final = {"pipeline", "definition"}
"""Fields of a call whose values are never the defaults, and which the first histories lack."""

CHANGE_VERSION: Final = "TemporalChangeVersion"
"""The search attribute that Temporal itself writes for `workflow.patched`."""


def test_recorded_fields_keep_their_names() -> None:
    kinds: list[type] = [
        kind
        for module in (contract, stage_record)
        for _, kind in inspect.getmembers(module, dataclasses.is_dataclass)
        if isinstance(kind, type) and kind.__module__ == module.__name__
    ]
    found = {kind.__name__: " ".join(vars(kind)["__dataclass_fields__"]) for kind in kinds}
    assert found == NAMES


def test_recorded_words_stay() -> None:
    assert {name: getattr(contract, name) for name in CONSTANTS} == CONSTANTS


def without_defaults(kind: type, value: dict[str, Any]) -> dict[str, Any]:
    """The value without the fields that have their defaults: a history from before a field lacks it."""
    defaults = {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(kind)
    }
    return {name: given for name, given in value.items() if name not in defaults or defaults[name] != given}


def argument(value: dict[str, Any]) -> dict[str, Any]:
    """A `StageCall` or a `Question` about one, without defaults, and without what older histories lack."""
    if "call" in value:
        return {**value, "call": argument(value["call"])}
    call = without_defaults(contract.StageCall, value)
    return {name: given for name, given in call.items() if name not in LATER}


class Asked:
    """What a replay asks Temporal for."""

    def __init__(self) -> None:
        self.arguments: list[dict[str, Any]] = []
        self.timers: list[float] = []
        self.upserts: list[dict[str, Any]] = []


def watching(asked: Asked) -> Interceptor:
    class Outbound(WorkflowOutboundInterceptor):
        def start_activity(self, input: StartActivityInput) -> Any:  # noqa: A002
            asked.arguments.append(argument(dataclasses.asdict(input.args[0])))
            return super().start_activity(input)

    class Inbound(WorkflowInboundInterceptor):
        def init(self, outbound: WorkflowOutboundInterceptor) -> None:
            super().init(Outbound(outbound))

    class Watching(Interceptor):
        def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type:  # noqa: A002
            return Inbound

    return Watching()


def recorded(history: dict[str, Any]) -> Asked:
    asked = Asked()
    for event in history["events"]:
        if scheduled := event.get("activityTaskScheduledEventAttributes"):
            [payload] = scheduled["input"]["payloads"]
            asked.arguments.append(argument(json.loads(base64.b64decode(payload["data"]))))
        if started := event.get("timerStartedEventAttributes"):
            asked.timers.append(float(started["startToFireTimeout"].rstrip("s")))
        if upserted := event.get("upsertWorkflowSearchAttributesEventAttributes"):
            fields = upserted["searchAttributes"]["indexedFields"]
            if CHANGE_VERSION not in fields:
                asked.upserts.append({name: decoded(field) for name, field in fields.items()})
    return asked


def decoded(field: dict[str, Any]) -> Any:
    """The value of a recorded search attribute; None if the write removes it."""
    return json.loads(base64.b64decode(field["data"])) if "data" in field else None


def as_json(value: Any) -> Any:
    """The value of a search attribute as the SDK writes it."""
    return value.isoformat() if isinstance(value, datetime) else value


@pytest.mark.parametrize("name", sorted(name for name in SHAPES if not name.startswith("stuck-")))
async def test_a_replay_asks_for_what_was_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (FOLDER / f"{name}.json").read_text()
    asked, start_timer = Asked(), instance._WorkflowInstanceImpl._timer_impl
    upsert = instance._WorkflowInstanceImpl.workflow_upsert_search_attributes

    def timer(self: Any, delay: float, *args: Any, **options: Any) -> Any:
        asked.timers.append(delay)
        return start_timer(self, delay, *args, **options)

    def write(self: Any, attributes: Any, **options: Any) -> None:
        asked.upserts.append({change.key.name: as_json(change.value) for change in attributes})
        upsert(self, attributes, **options)

    monkeypatch.setattr(instance._WorkflowInstanceImpl, "_timer_impl", timer)
    monkeypatch.setattr(instance._WorkflowInstanceImpl, "workflow_upsert_search_attributes", write)
    replayer = Replayer(
        workflows=[*WORKFLOWS, AtOnce], workflow_runner=workflow_runner(), interceptors=[watching(asked)]
    )
    assert (await replayer.replay_workflow(WorkflowHistory.from_json(name, text))).replay_failure is None
    expected = recorded(json.loads(text))
    assert asked.arguments == expected.arguments
    assert asked.timers == pytest.approx(expected.timers, abs=0.01)
    assert asked.upserts == expected.upserts
