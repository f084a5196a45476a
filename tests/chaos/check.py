"""The invariants of a finished chaos run. Each check compares what was recorded, and returns a sentence for each break.

The partner's ledger says what was sent and how it was answered; the histories and the store say what became of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Final

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause

from receiver.deliveries.delivery import Fate
from tests.chaos.evidence import (
    AFTERMATH,
    Evidence,
    Kept,
    Said,
    accepted_in,
    arguments,
    ended_at,
    is_disturbed,
    is_row_of,
    outcomes_in,
    said_by,
    said_in,
    signals_in,
    was_reset,
)
from tests.chaos.ledger import Entry
from tests.chaos.system import WEBS

LEASE: Final = 5.0
"""Seconds for which a delivery surely belongs to the receiver that sends it: half of a lease."""

FORGED_ANSWERS: Final = {0, 401, 404}
ALWAYS_ALLOWED: Final = {0, 429, 503}

HARMLESS: Final = {
    # A signal came while the task ended the run: the server gives the worker another task, with the signal.
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,
    # So the server records a reset, and with it the end of the task that was under way.
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND,
}


def broken_invariants(evidence: Evidence) -> list[str]:
    """A sentence for each break, in the order of the checks."""
    return [f"{check.__name__}: {fault}" for check in CHECKS for fault in check(evidence)]


def lost(evidence: Evidence) -> Iterator[str]:
    """Callbacks that were answered 2xx, and are in no history of their run.

    The store may tell that a callback came to a run that had ended. A success is the same in answer to any attempt.
    """
    signalled = {
        id_: {said_by(event) for event in signals_in(histories)} for id_, histories in evidence.lineages.items()
    }
    for content, entry in accepted_in(evidence).items():
        if said_in(entry) not in signalled.get(entry.claims.workflow_id, set()) and not _came_too_late(evidence, entry):
            yield f"{content} ({entry.answer.status}) was answered {entry.status} and is in no history"


def _came_too_late(evidence: Evidence, entry: Entry) -> bool:
    rows = [row.delivery for row in evidence.kept or () if is_row_of(row.delivery, entry)]
    return any(row.fate is Fate.REFUSED and "the run is" in row.fate_reason for row in rows)


def left_in_the_store(evidence: Evidence) -> Iterator[str]:
    """Deliveries that are still to be sent, or wait for an operator."""
    for row in evidence.kept or ():
        if (one := row.delivery).fate in {Fate.PENDING, Fate.PARKED}:
            yield f"{one.workflow_id} stage {one.stage}: {one.says} is {one.fate.value}: {one.fate_reason}"


def doubled(evidence: Evidence) -> Iterator[str]:
    """Results that are more than one signal of an execution. After a reset the copies of the past are signals too."""
    for id_, history in evidence.executions:
        counts: dict[Said, int] = defaultdict(int)
        for event in signals_in([history]):
            counts[said_by(event)] += 1
        if not was_reset(history):
            yield from (
                f"{id_}: {said} is {count} signals of execution {history.run_id}"
                for said, count in counts.items()
                if count > 1 and said[2] in {"succeeded", "failed"}
            )


def sent_by_two(evidence: Evidence) -> Iterator[str]:
    """Deliveries that two receivers sent at the same time, although each came once and nothing failed."""
    # By the ledger: of a flood of repeats, the store records only so many.
    came = Counter((*entry.stage, entry.content.rpartition("/")[2]) for entry in evidence.entries)
    kept = [(row.request_id, row.delivery) for row in evidence.kept or () if row.request_id]
    once = {id_ for id_, row in kept if came[row.workflow_id, row.stage, row.body_digest[:16]] == 1}
    sends: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for receiver, sent in evidence.sent.items():
        for at, id_ in sent:
            if id_ in once and not is_disturbed(evidence, at, at + LEASE):
                sends[id_].append((at, receiver))
    for id_, found in sends.items():
        for (at, receiver), (later, other) in zip(sorted(found), sorted(found)[1:], strict=False):
            if receiver != other and later - at < LEASE:
                yield f"request id {id_[:12]}: sent by {receiver} and, {later - at:.2f} s later, by {other}"


def answered_wrongly(evidence: Evidence) -> Iterator[str]:
    """A 4xx for what is ours, a 5xx that is not 503, or a 2xx for a forgery."""
    successes: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for entry in evidence.entries:
        if entry.accepted and entry.answer.status == "succeeded" and entry.kind != "forged":
            successes[entry.stage].append(entry)
    for entry in evidence.entries:
        if not _may_be_answered(evidence, entry, successes[entry.stage]):
            yield f"{entry.kind} {entry.content} ({entry.answer.status}) was answered {entry.status}"


def _may_be_answered(evidence: Evidence, entry: Entry, successes: Sequence[Entry]) -> bool:
    if entry.kind == "forged":
        return entry.status in FORGED_ANSWERS
    if entry.accepted or entry.status in ALWAYS_ALLOWED:
        return True
    if entry.status == 409:
        return any(one.content != entry.content and one.sent_at < entry.answered_at for one in successes)
    if entry.status == 410:
        return ended_at(evidence.lineages.get(entry.claims.workflow_id, ())) < entry.answered_at + 1.0
    return False


def answered_differently(evidence: Evidence) -> Iterator[str]:
    """Callbacks that were accepted, and refused when the same content came again later."""
    first = accepted_in(evidence)
    for entry in evidence.entries:
        known = first.get(entry.content)
        is_refusal = entry.final and not entry.accepted and entry.kind != "forged"
        if known and is_refusal and entry.sent_at > known.answered_at and not _may_be_forgotten(evidence, known, entry):
            yield f"{entry.content}: {known.status}, then {entry.status}"


def _may_be_forgotten(evidence: Evidence, known: Entry, entry: Entry) -> bool:
    """Whether nothing could know that the content was accepted: two known limits, see docs/reliability.md.

    Without a store only Temporal knows it, and forgets request ids when a run is reset. While the store is away only
    the process that had Temporal take it knows it, and may end before the store is back.
    """
    if evidence.kept is None:
        return entry.status == 410 and entry.claims.workflow_id in evidence.resets
    rows = (one.delivery for one in evidence.kept if is_row_of(one.delivery, known))
    if any(row.received_at < known.answered_at for row in rows):
        return False  # The store has it, under whatever verdict.
    if not is_disturbed(evidence, known.sent_at, known.answered_at, "store"):
        return False
    # Not a fault that was over before the answer: the process that answered was there after it.
    return any(
        window.place in WEBS and window.over > known.answered_at and window.began < known.answered_at + AFTERMATH
        for window in evidence.windows
    )


def out_of_order(evidence: Evidence) -> Iterator[str]:
    """Callbacks of a stage whose signals are not in the order in which they were answered.

    Two are compared if the first was answered before the second was first sent, and both were committed in the store.
    """
    first_sent: dict[str, float] = {}
    for entry in evidence.entries:
        first_sent[entry.content] = min(entry.sent_at, first_sent.get(entry.content, inf))
    stored = _stored_contents(evidence)
    of_stage: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for entry in sorted(accepted_in(evidence).values(), key=lambda entry: entry.answered_at):
        if stored is None or entry.content in stored:
            # It may have been committed when it was first sent, and its answer lost.
            of_stage[entry.stage].append(replace(entry, sent_at=first_sent[entry.content]))
    for id_, history in evidence.executions:
        # A repeat after a lost answer is a signal of its own, if it reports progress: the first one counts.
        places: dict[Said, float] = {}
        for event in signals_in([history]):
            places.setdefault(said_by(event), event.event_id)
        for (workflow_id, _), entries in of_stage.items():
            if workflow_id == id_ and not was_reset(history):
                if len(evidence.lineages[id_]) == 1 and id_ not in evidence.resets:
                    # What came too late because a later callback ended the run was overtaken by it.
                    places = {said_in(entry): inf for entry in entries} | places
                yield from _inversions(evidence, entries, places)


def _inversions(evidence: Evidence, entries: Sequence[Entry], places: Mapping[Said, float]) -> Iterator[str]:
    latest: Entry | None = None
    for entry in entries:
        place = places.get(said_in(entry))
        if place is None or is_disturbed(evidence, entry.sent_at, entry.answered_at, "store"):
            continue
        if latest and latest.answered_at < entry.sent_at and place < places[said_in(latest)]:
            yield f"{entry.content} ({entry.answer.message}) overtook {latest.content} ({latest.answer.message})"
        if latest is None or place > places[said_in(latest)]:
            latest = entry


def _stored_contents(evidence: Evidence) -> set[str] | None:
    """The contents that were committed before Temporal was told; None without a store."""
    if evidence.kept is None:
        return None
    rows: dict[tuple[str, int, str], list[Kept]] = defaultdict(list)
    for row in evidence.kept:
        rows[row.delivery.workflow_id, row.delivery.stage, row.delivery.body_digest[:16]].append(row)
    return {
        entry.content
        for entry in evidence.entries
        if (found := rows.get((*entry.stage, entry.content.rpartition("/")[2]))) and not any(row.bare for row in found)
    }


def settled_by_another(evidence: Evidence) -> Iterator[str]:
    """Outcomes that are not the first success among the stage's callbacks."""
    for id_, histories in evidence.lineages.items():
        chain_id = histories[-1].events[0].workflow_execution_started_event_attributes.first_execution_run_id
        first: dict[int, tuple[int, Mapping[str, Any]]] = {}
        for event in signals_in(histories):
            stage, callback = arguments(event)
            if callback["chain_id"] == chain_id and callback["answer"]["status"] == "succeeded":
                first.setdefault(stage, (callback["attempt"], callback["answer"]["data"]))
        for number, outcome in enumerate(outcomes_in(histories), start=1):
            found = outcome["attempt"], outcome["data"]
            if outcome["cause"] == "callback" and outcome["status"] == "succeeded" and found != first.get(number):
                yield f"{id_} stage {number}: settled by {found}, not by {first.get(number)}"


def settled_otherwise(evidence: Evidence) -> Iterator[str]:
    """Stages that were settled, and were settled otherwise later."""
    for id_, seen in evidence.before:
        if id_ in evidence.resets or id_ not in evidence.after:
            continue  # a reset takes stages back
        later = evidence.after[id_]["outcomes"]
        for name, outcome in seen["outcomes"].items():
            if _settlement(outcome) != (found := _settlement(later.get(name, {}))):
                yield f"{id_} {name}: {_settlement(outcome)} became {found}"


def _settlement(outcome: Mapping[str, Any]) -> dict[str, Any]:
    # Not the time: a query that comes between a signal and its workflow task is answered with that of the task before.
    return {name: value for name, value in outcome.items() if name != "at"}


def called_differently(evidence: Evidence) -> Iterator[str]:
    """Calls that were repeated with another URL or another idempotency key."""
    keys: dict[Any, set[str]] = defaultdict(set)
    for call in evidence.calls:
        keys[call.claims].add(call.key)
        if len(call.urls) > 1:
            yield f"{call.claims.workflow_id} stage {call.claims.stage}: one key, {len(call.urls)} URLs"
    for claims, found in keys.items():
        if len(found) > 1:
            yield f"{claims.workflow_id} stage {claims.stage}: {len(found)} keys for one call"


def failed_tasks(evidence: Evidence) -> Iterator[str]:
    """Workflow tasks that failed, for whatever cause."""
    for id_, history in evidence.executions:
        for event in history.events:
            failed = event.workflow_task_failed_event_attributes
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED and failed.cause not in HARMLESS:
                yield f"{id_}: {WorkflowTaskFailedCause.Name(failed.cause)}: {failed.failure.message}"


def leaked(evidence: Evidence) -> Iterator[str]:
    """Secrets and callback tokens in logs and histories."""
    tokens = {call.url.rpartition("/")[2] for call in evidence.calls}
    texts = dict(evidence.logs)
    for id_, history in evidence.executions:
        recorded = b"".join(event.SerializeToString() for event in history.events)
        texts[f"{id_} {history.run_id}"] = recorded.decode("latin-1")
    for name, text in texts.items():
        if found := next((secret for secret in (*evidence.secrets, *tokens) if secret in text), None):
            yield f"{name} holds {found[:6]}..."


def ended_by_itself(evidence: Evidence) -> Iterator[str]:
    """Parts that do not run, although every fault is undone. `System.end` notices those that ended between faults."""
    yield from evidence.ended


CHECKS: Final[Sequence[Callable[[Evidence], Iterator[str]]]] = (
    lost,
    left_in_the_store,
    doubled,
    sent_by_two,
    answered_wrongly,
    answered_differently,
    out_of_order,
    settled_by_another,
    settled_otherwise,
    called_differently,
    failed_tasks,
    leaked,
    ended_by_itself,
)


def settled_by_callback(evidence: Evidence, workflow_id: str) -> bool:
    """Whether a run has ended, each of its stages by a callback."""
    outcomes = outcomes_in(evidence.lineages.get(workflow_id, ()))
    return bool(outcomes) and all(outcome["cause"] == "callback" for outcome in outcomes)
