"""Finding runs by Temporal's search attributes: registering the attributes in a namespace, and queries for runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from activities.run_words import RUN_STATUSES
from workflows.contract import StageProgress
from workflows.finding import (
    ATTRIBUTES,
    DEADLINE_KEY,
    OPEN_STATES,
    PARTNER_KEY,
    PIPELINE_KEY,
    STAGE_KEY,
    STATE_KEY,
    short_value,
)
from workflows.pipelines import PIPELINE_TYPES

REFUSED_CODES: Final = {
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.UNIMPLEMENTED,
}

LISTING_TIMEOUT: Final = 5.0
"""Seconds for Temporal to say which attributes a namespace has."""

OF_OPEN_STAGES: Final = "('calling', 'waiting', 'needs_person')"
WITHOUT_PERSON: Final = "('calling', 'waiting')"
"""A run writes its state when a call begins, and not when the wait for its callback begins, to save an action."""


class SetupRefused(Exception):
    """Temporal does not let this client register search attributes."""


class AttributeTaken(Exception):
    """The namespace has a search attribute of one of our names with another type."""


class AttributesOff(Exception):
    """The namespace lacks search attributes, so runs cannot be found by them."""


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list; the default is all.

    pipeline: of this pipeline, open or ended. state: `needs_person`; or `calling` or `waiting`, which are not told
    apart. waiting: with an open stage, which waits for its partner or for a person. partner, stage: with an open stage
    of this partner, or of this name. due: with a deadline before this moment, or one that has passed. The last five
    find open runs only.
    status: a name of `RUN_STATUSES`. since: started at or after this moment. These two need no search attributes.
    """

    pipeline: str = ""
    state: str = ""
    partner: str = ""
    stage: str = ""
    waiting: bool = False
    due: datetime | None = None
    status: str = ""
    since: datetime | None = None

    @property
    def is_of_stages(self) -> bool:
        """Whether it chooses by what a run's stages wait for."""
        return bool(self.state or self.partner or self.stage or self.waiting or self.due)

    @property
    def needs_attributes(self) -> bool:
        """Whether it needs the namespace's search attributes."""
        return bool(self.pipeline) or self.is_of_stages

    def query(self) -> str:
        """The conditions of a visibility query; "" for all runs."""
        return " AND ".join(self._conditions())

    def chooses(self, stage: StageProgress) -> bool:
        """Whether an open stage is one for which it finds a run. Here `calling` and `waiting` are told apart."""
        return (
            stage.state in OPEN_STATES
            and self.state in {"", stage.state}
            and (not self.partner or short_value(self.partner) == short_value(stage.partner))
            and (not self.stage or short_value(self.stage) == short_value(stage.name or str(stage.number)))
            and (self.due is None or (stage.deadline is not None and stage.deadline < self.due.timestamp()))
        )

    def _conditions(self) -> Iterator[str]:
        if self.pipeline:
            yield f"{PIPELINE_KEY.name} = {quoted(self.pipeline)}"
        if self.status:
            yield f"ExecutionStatus = '{RUN_STATUSES[self.status]}'"
        if self.since:
            yield f"StartTime >= '{_moment(self.since)}'"
        if self.is_of_stages:
            yield "ExecutionStatus = 'Running'"
        if self.state:
            matching = f"= {quoted(self.state)}" if self.state == "needs_person" else f"IN {WITHOUT_PERSON}"
            yield f"{STATE_KEY.name} {matching}"
        if self.waiting:
            yield f"{STATE_KEY.name} IN {OF_OPEN_STAGES}"
        if self.partner:
            yield f"{PARTNER_KEY.name} = {quoted(self.partner)}"
        if self.stage:
            yield f"{STAGE_KEY.name} = {quoted(self.stage)}"
        if self.due:
            yield f"{DEADLINE_KEY.name} < '{_moment(self.due)}'"


def failed_since(moment: datetime) -> str:
    """The conditions of a visibility query for runs that have failed since."""
    return f"ExecutionStatus = 'Failed' AND CloseTime >= '{_moment(moment)}'"


def _moment(at: datetime) -> str:
    # Not strftime: it writes a year before 1000 with fewer digits, which Temporal cannot read.
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def quoted(value: str) -> str:
    """The value as a text of a visibility query."""
    escaped = short_value(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def runs_query(where: str = "") -> str:
    """The visibility query for runs. Of a run that continued as new, it finds only the latest execution."""
    types = ", ".join(quoted(kind) for kind in sorted(PIPELINE_TYPES))
    return " AND ".join(filter(None, (f"WorkflowType IN ({types})", "ExecutionStatus != 'ContinuedAsNew'", where)))


def type_of(key: SearchAttributeKey[Any]) -> str:
    """The attribute's type, as Temporal's command line writes it: Keyword, KeywordList, Datetime."""
    return key.indexed_value_type.name.title().replace("_", "")


async def missing_attributes(client: Client) -> Sequence[SearchAttributeKey[Any]]:
    """The search attributes that the namespace lacks; raises `AttributeTaken`, `SetupRefused` and `RPCError`."""
    known = await _known_attributes(client)
    for key in ATTRIBUTES:
        if known.get(key.name, key.indexed_value_type) != key.indexed_value_type:
            kind = IndexedValueType.Name(known[key.name]).removeprefix("INDEXED_VALUE_TYPE_").title().replace("_", "")
            raise AttributeTaken(
                f"the namespace {client.namespace} has a search attribute {key.name} of the type {kind}, "
                f"not {type_of(key)}"
            )
    return [key for key in ATTRIBUTES if key.name not in known]


async def register_attributes(client: Client) -> Sequence[str]:
    """Register the missing search attributes, and return their names; raises what `missing_attributes` does."""
    missing = await missing_attributes(client)
    if not missing:
        return []
    request = AddSearchAttributesRequest(
        namespace=client.namespace,
        search_attributes={key.name: IndexedValueType.ValueType(int(key.indexed_value_type)) for key in missing},
    )
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        raise _refusal(error, client) or error from error
    return [key.name for key in missing]


async def _known_attributes(client: Client) -> dict[str, IndexedValueType.ValueType]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        found = await client.operator_service.list_search_attributes(request)
    except RPCError as error:
        raise _refusal(error, client) or error from error
    return {**found.custom_attributes}


def _refusal(error: RPCError, client: Client) -> SetupRefused | None:
    if error.status not in REFUSED_CODES:
        return None
    return SetupRefused(
        f"Temporal does not let this client manage search attributes of the namespace {client.namespace}"
    )
