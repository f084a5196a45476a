"""A call whose next try is held when its time is over: what was not reached has no callback to wait for."""

from __future__ import annotations

import httpx
import pytest
import respx
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutType
from temporalio.exceptions import TimeoutError as TimeoutFailure
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import http_client
from activities.lanes import Hold, hold_lane
from activities.partners import sandbox
from activities.worker import build_worker
from tests.support import KEY, QUEUE, failure_of, stage, start, until_event
from workflows.contract import NOT_REACHED
from workflows.failures import HELD_CALLS, was_never_reached


@pytest.mark.parametrize("answered", [False, True], ids=["not reached", "answered 503"])
async def test_a_held_call_that_was_not_reached_is_not_waited_for(real: WorkflowEnvironment, *, answered: bool) -> None:
    async def out_of_reach(request: httpx.Request) -> httpx.Response:
        await hold_lane(real.client, f"{QUEUE}.bank", Hold("operator", "moves house"))
        if answered:
            return httpx.Response(503)
        raise httpx.ConnectError("refused")

    bank = sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))
    urls = CallbackURLs("http://receiver.test", [KEY])
    with respx.mock as http:
        http.post("http://sandbox.test/bank/calls").mock(side_effect=out_of_reach)
        async with (
            http_client() as client,
            build_worker(real.client, PartnerCalls(client, urls, {"bank": bank}), task_queue=QUEUE),
        ):
            handle = await start(real.client, stage(1, partner="bank", call_within=3.0, timeout=2.0))
            await until_event(handle, "activity_task_timed_out_event_attributes")
            failure = await failure_of(handle)
    waited = [
        event async for event in handle.fetch_history_events() if event.HasField("timer_started_event_attributes")
    ]
    assert bool(waited) is answered
    assert ("no callback" in str(failure)) is answered


def failed(*, started: int, last: str = NOT_REACHED) -> ActivityError:
    """A call that was given up, with the failure of its last try. started: the event of a try in flight, or 0."""
    given_up = TimeoutFailure("over", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[])
    given_up.__cause__ = ApplicationError("refused", type=last)
    error = ActivityError(
        "over",
        scheduled_event_id=5,
        started_event_id=started,
        identity="",
        activity_type="call_partner",
        activity_id="1",
        retry_state=RetryState.TIMEOUT,
    )
    error.__cause__ = given_up
    return error


@pytest.mark.parametrize("is_patched", [True, False])
def test_only_a_call_that_waited_counts_as_its_last_try(monkeypatch: pytest.MonkeyPatch, *, is_patched: bool) -> None:
    asked: list[str] = []

    def patched(name: str) -> bool:
        asked.append(name)
        return is_patched

    monkeypatch.setattr(workflow, "patched", patched)
    assert not was_never_reached(failed(started=6))
    assert not was_never_reached(failed(started=0, last="ServerFailed"))
    assert asked == [], "a marker that is not needed would stick the run at a roll-back"
    assert was_never_reached(failed(started=0)) is is_patched
    assert asked == [HELD_CALLS]
