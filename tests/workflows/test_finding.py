"""The search attributes of a run, made of its stages' records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import stage
from workflows.contract import Stage
from workflows.finding import DEADLINE_KEY, LONGEST_VALUE, PARTNER_KEY, STAGE_KEY, STATE_KEY, is_put_off, open_stages
from workflows.stage_record import FAR_FUTURE, StageRecord

AT = 1_800_000_000.0


def calling() -> StageRecord:
    record = StageRecord()
    record.begin(attempt=1, issued_at=int(AT), at=AT)
    return record


def waiting(timeout: float = 60.0) -> StageRecord:
    record = calling()
    record.returned(at=AT)
    record.wait(at=AT, timeout=timeout, cap=FAR_FUTURE)
    return record


def escalated() -> StageRecord:
    record = waiting()
    record.fall_silent("timeout", "", at=AT)
    record.escalate(at=AT, within=600.0)
    return record


def settled() -> StageRecord:
    record = waiting()
    record.settle("succeeded", "callback", at=AT)
    return record


def values(*stages: tuple[Stage, StageRecord]) -> dict[str, Any]:
    return {update.key.name.removeprefix("Stagehook"): update.value for update in open_stages(stages)}


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_an_open_stage_is_found_by_name_partner_and_state() -> None:
    found = values((stage(1), settled()), (stage(2), waiting()), (stage(3), StageRecord()))
    assert found == {"Stage": ["step-2"], "Partner": ["partner-2"], "State": "waiting", "Deadline": moment(AT + 60)}


def test_a_call_is_found_with_the_deadline_of_its_wait() -> None:
    assert values((stage(1, timeout=90.0), calling()))["Deadline"] == moment(AT + 90)


def test_several_open_stages_show_the_most_urgent_state() -> None:
    found = values((stage(1), calling()), (stage(2), escalated()), (stage(3), waiting(30.0)))
    assert (found["State"], found["Stage"]) == ("needs_person", ["step-1", "step-2", "step-3"])
    assert found["Deadline"] == moment(AT + 30)


def test_without_an_open_stage_the_attributes_are_removed() -> None:
    updates = open_stages([(stage(1), settled())])
    assert updates == [key.value_unset() for key in (STAGE_KEY, PARTNER_KEY, STATE_KEY, DEADLINE_KEY)]


def test_a_wait_by_hand_has_neither_partner_nor_deadline() -> None:
    record = StageRecord()
    record.wait(at=AT)
    assert values((Stage(number=2, name="", partner="", timeout=0.0), record)) == {
        "Stage": ["2"],
        "Partner": [],
        "State": "waiting",
        "Deadline": None,
    }


def test_no_definition_makes_values_that_temporal_refuses() -> None:
    """Temporal takes at most 2 KiB for an attribute, and dates before 2262; otherwise the run would be blocked."""
    stages = [
        (stage(n, name=f"{n}-" + "ü" * 1_000, partner="p" * 1_000), waiting(FAR_FUTURE / 2)) for n in range(1, 51)
    ]
    found = values(*stages)
    assert len(json.dumps(found["Stage"])) < 2_048
    assert found["Stage"][0] == stages[0][0].name[:LONGEST_VALUE]
    assert found["Partner"] == ["p" * LONGEST_VALUE]
    assert found["Deadline"].year < 2262


HOUR = 3600.0


@pytest.mark.parametrize(
    ("minutes", "is_written"), [(0, False), (5, False), (6, True), (30, True), (60, True), (61, True)]
)
def test_a_noticeable_delay_of_the_deadline_is_written(minutes: int, is_written: bool) -> None:
    record = waiting(HOUR)
    record.progressed(at=AT + 60 * minutes)
    assert is_put_off([(stage(1), record)], moment(AT + HOUR), at=AT + 60 * minutes) == is_written


@pytest.mark.parametrize("minutes", [1, 5, 59])
def test_a_written_deadline_that_has_passed_is_corrected(minutes: int) -> None:
    record = waiting(HOUR)
    record.progressed(at=AT + 60 * minutes)
    assert is_put_off([(stage(1), record)], moment(AT + HOUR), at=AT + HOUR)


def test_an_overdue_run_stays_overdue() -> None:
    """Also if another stage has more time."""
    stages = [(stage(1), waiting(HOUR)), (stage(2), waiting(2 * HOUR))]
    assert not is_put_off(stages, moment(AT + HOUR), at=AT + HOUR + 600)


def test_without_a_written_or_a_new_deadline_none_is_put_off() -> None:
    record = waiting(HOUR)
    record.progressed(at=AT + HOUR)
    assert not is_put_off([(stage(1), record)], None, at=AT + HOUR)
    assert not is_put_off([(stage(1), settled())], moment(AT), at=AT + HOUR)


def test_progress_every_second_is_written_ten_times_a_timeout() -> None:
    record, written, writes = waiting(HOUR), AT + HOUR, 0
    for second in range(3600):
        record.progressed(at=AT + second)
        if is_put_off([(stage(1), record)], moment(written), at=AT + second):
            written, writes = AT + second + HOUR, writes + 1
    assert writes <= 10
