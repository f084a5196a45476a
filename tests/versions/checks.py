"""What must hold of finished runs: each check compares what was recorded, and returns a sentence for each fault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from receiver.deliveries.delivery import Delivery, Fate
from tests.versions.partner import DIGEST_LENGTH, Sent
from tests.versions.trees import Tree
from workflows.contract import ADVANCE_STAGE, Answer

Chains = Mapping[str, Sequence[WorkflowHistory]]
"""The executions of every run, by its workflow id."""

REWRITTEN_ANSWERS: Final = (200, 202, 409, 410)
"""How the same result in other bytes may be answered: the old version may take it for another result."""

HARMLESS: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
"""A signal came while the task ended the run: the server gives the worker another task, with the signal."""

Said = tuple[int, int, str, str, str, str]
"""Stage, attempt, status, data, code and message of a callback."""


def failed_tasks(chains: Chains) -> list[str]:
    """Workflow tasks that failed, for whatever cause."""
    return [
        f"{workflow_id}: {WorkflowTaskFailedCause.Name(failed.cause)}: {failed.failure.message}"
        for workflow_id, event in _events(chains, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
        for failed in [event.workflow_task_failed_event_attributes]
        if failed.cause != HARMLESS
    ]


def lost(ledger: Collection[Sent], chains: Chains, kept: Iterable[Delivery] = ()) -> list[str]:
    """Callbacks that were answered 2xx, and are in no history of their run.

    Two that say the same may be one signal if they settle, or carry one delivery id. A run that has ended takes none.
    A success in answer to an earlier attempt is a duplicate of the same success in answer to a later one.
    kept: the store's deliveries. They name the callbacks whose run ended between the answer and the signal.
    """
    signalled = {
        workflow_id: Counter(map(_of_any_attempt, _signals(histories))) for workflow_id, histories in chains.items()
    }
    late = set(_refused_by_ended_runs(chains, kept))
    wanted: dict[tuple[str, Said], set[str]] = {}
    excused: dict[tuple[str, Said], set[str]] = {}
    for sent in ledger:
        claims, histories = sent.claims, chains.get(sent.claims.workflow_id, ())
        said = claims.workflow_id, _of_any_attempt(_said(claims.stage, claims.attempt, sent.answer))
        content = "" if sent.answer.settles else sent.content
        if (claims.workflow_id, claims.stage, claims.attempt, sent.digest) in late:
            excused.setdefault(said, set()).add(content)
        elif sent.accepted and not (histories and sent.at > _ended_at(histories)):
            wanted.setdefault(said, set()).add(content)
    return [
        f"{workflow_id}: {said}: {count} answered 2xx, {found} in the history"
        for (workflow_id, said), contents in wanted.items()
        if (count := len(contents - excused.get((workflow_id, said), set())))
        > (found := signalled.get(workflow_id, Counter())[said])
    ]


def _refused_by_ended_runs(chains: Chains, kept: Iterable[Delivery]) -> Iterator[tuple[str, int, int, str]]:
    """Workflow id, stage, attempt and digest of the deliveries that the store tells as refused, after their run's end.

    Example: attempt 2 succeeds. A success of attempt 3 is kept and answered 202, for it may be the one that counts. The
    run ends before its signal is sent.
    """
    for one in kept:
        histories = chains.get(one.workflow_id, ())
        if one.fate is Fate.REFUSED and one.fate_at and histories and one.fate_at > _ended_at(histories):
            yield one.workflow_id, one.stage, one.attempt, one.body_digest[:DIGEST_LENGTH]


def doubled(chains: Chains, *, most: int = 1) -> list[str]:
    """Results that are more signals of one execution than `most`.

    Two versions may make different request ids of one result, so each may signal it once; the stage is settled once.
    """
    return [
        f"{workflow_id}: {said} is {count} signals of execution {history.run_id}"
        for workflow_id, histories in chains.items()
        for history in histories
        for said, count in Counter(_signals([history])).items()
        if count > most and said[2] in {"succeeded", "failed"}
    ]


def answered_differently(ledger: Collection[Sent]) -> list[str]:
    """Callbacks that were accepted, and answered otherwise when the same content came again."""
    firsts: dict[str, Sent] = {}
    faults = []
    for sent in sorted((sent for sent in ledger if sent.final), key=lambda sent: sent.at):
        if sent.kind == "rewritten":
            if sent.status not in REWRITTEN_ANSWERS:
                faults.append(f"{sent.content} in other bytes: {sent.status} by {sent.version}")
            continue
        first = firsts.setdefault(sent.content, sent)
        if first.accepted and sent.status != first.status and not _is_unknown_to_old(first, sent):
            faults.append(f"{sent.content}: {first.status} by {first.version}, then {sent.status} by {sent.version}")
    return faults


def _is_unknown_to_old(first: Sent, again: Sent) -> bool:
    """Whether a roll-back explains the answer: a run that has ended is 410 to a version without the new request ids."""
    return (first.version, again.version, again.status) == ("new", "old", 410)


def left_in_the_store(deliveries: Iterable[Delivery]) -> list[str]:
    """Deliveries that are still to be sent, or wait for an operator."""
    return [
        f"{one.workflow_id} stage {one.stage}: {one.says} is {one.fate.value}: {one.fate_reason}"
        for one in deliveries
        if one.fate in {Fate.PENDING, Fate.PARKED}
    ]


def settled_otherwise(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Stages that were settled before and are settled otherwise now. Both: answers to `progress`, by workflow id."""
    return [
        f"{workflow_id} stage {stage['number']}: {_settlement(stage)} became {_settlement(later)}"
        for workflow_id, progress in before.items()
        for stage, later in zip(progress["stages"], after[workflow_id]["stages"], strict=True)
        if stage["outcome"] and _settlement(stage) != _settlement(later)
    ]


def _settlement(stage: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(stage[name] for name in ("outcome", "cause", "settled_at", "code", "message"))


def unreplayable(chains: Chains, trees: Iterable[Tree], folder: Path) -> Iterator[str]:
    """Histories that a version's code does not replay. folder: where they are written to."""
    folder.mkdir(exist_ok=True)
    for workflow_id, histories in chains.items():
        for number, history in enumerate(histories, start=1):
            (folder / f"{workflow_id}.{number}.json").write_text(history.to_json())
    for tree in trees:
        yield from (f"replayed by {tree.name}: {line}" for line in tree.replay_failures(folder).splitlines())


def error_of(histories: Sequence[WorkflowHistory]) -> str:
    """The type of the error that a run ended with; "" if it completed."""
    last = histories[-1].events[-1]
    if last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
        return ""
    failed = last.workflow_execution_failed_event_attributes.failure
    return failed.application_failure_info.type or EventType.Name(last.event_type)


def _ended_at(histories: Sequence[WorkflowHistory]) -> float:
    at = histories[-1].events[-1].event_time
    return float(at.seconds + at.nanos / 1e9)


def _events(chains: Chains, kind: EventType.ValueType) -> Iterator[tuple[str, HistoryEvent]]:
    for workflow_id, histories in chains.items():
        for history in histories:
            yield from ((workflow_id, event) for event in history.events if event.event_type == kind)


def _signals(histories: Sequence[WorkflowHistory]) -> Iterator[Said]:
    """What the callbacks among the signals say."""
    for _, event in _events({"": histories}, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED):
        signal = event.workflow_execution_signaled_event_attributes
        args = [json.loads(payload.data) for payload in signal.input.payloads]
        if signal.signal_name == ADVANCE_STAGE and len(args) == 2:
            stage, callback = args
            yield _said(stage, callback["attempt"], Answer(**callback["answer"]))


def _of_any_attempt(said: Said) -> Said:
    """What is said of the stage, if it is a success: any attempt's settles it."""
    stage, attempt, status, data, code, message = said
    return stage, 0 if status == "succeeded" else attempt, status, data, code, message


def _said(stage: int, attempt: int, answer: Answer) -> Said:
    data = json.dumps(dict(answer.data), sort_keys=True)
    return stage, attempt, answer.status, data, answer.code, answer.message
