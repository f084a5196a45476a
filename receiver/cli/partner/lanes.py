"""The partners with their lanes: list them, hold one's calls, and let them begin again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, TypeVar

from temporalio.client import Client

from activities.client import TemporalUnreachable, connect
from activities.environment import Environment, SettingsError
from activities.lanes import (
    MOST_RUNS,
    Hold,
    LaneRefused,
    LaneState,
    hold_lane,
    lane_to_hold,
    look_at_lane,
    reaching_lanes,
    release_lane,
    retried_calls,
)
from activities.partners import PARTNERS
from activities.settings import read_task_queue
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import counted, note, print_json
from receiver.cli.partner.settings import check_name, enabled_names
from receiver.cli.tables import print_list
from receiver.telling.lanes import hold_text, lane_text, unserved_text
from receiver.telling.moments import utc_text
from workflows.lanes import call_lane

K = TypeVar("K")

LONGEST_PAUSE_REASON: Final = 300
"""Characters."""


async def print_partners(*, as_json: bool) -> None:
    """Print every partner, and the state of the enabled ones' lanes as far as Temporal tells it."""
    names = enabled_names()
    queue = read_task_queue(Environment(os.environ))
    lanes = await find_lanes({name: call_lane(queue, name) for name in names})
    if as_json:
        print_json([{"name": name, "enabled": name in names, "lane": lanes.get(name)} for name in PARTNERS])
        return
    rows = [
        (name, "yes" if name in names else "no", lane_text(name, lanes[name]) if name in lanes else "")
        for name in PARTNERS
    ]
    print_list(("partner", "enabled", "lane"), rows, below=("lane",))


async def find_lanes(queues: Mapping[K, str]) -> dict[K, LaneState]:
    """Return the lanes of these task queues; none if Temporal cannot be asked, with a note that says why."""
    try:
        client = await connect(os.environ)
        async with reaching_lanes(client):
            return {key: await look_at_lane(client, queue) for key, queue in queues.items()}
    except (TemporalUnreachable, LaneRefused, SettingsError) as error:
        note(f"lanes: not known: {error}")
        return {}


async def pause_partner(name: str, reason: str, until: float, actor: str) -> None:
    """Hold the partner's calls. until: as in `Hold`. Raises `CommandError` for what cannot be a pause."""
    check_name(name)
    if not 0 < len(reason.strip()) <= LONGEST_PAUSE_REASON:
        raise CommandError(
            f"--reason has {len(reason)} characters", f"use 1 to {LONGEST_PAUSE_REASON} characters", Exit.USAGE
        )
    lane, client = lane_to_hold(_task_queue(), name), await connect(os.environ)
    async with reaching_lanes(client):
        await hold_lane(client, lane, Hold("operator", reason.strip(), actor=actor, until=until))
    note(f"paused: no call to {name} begins {_end_of(name, until)}")
    # The pause holds: from here on, an error is only a note.
    await _tell_unserved(client, lane)
    await _tell_retried(client, name, lane)


async def _tell_unserved(client: Client, lane: str) -> None:
    """Say so if the pause may be on a lane that is not the workers'."""
    try:
        async with reaching_lanes(client):
            served = (await look_at_lane(client, lane)).served
    except (TemporalUnreachable, LaneRefused) as error:
        note(f"whether a worker asks for tasks from {lane} is not known: {error}")
        return
    if not served:
        note(
            f"{unserved_text(lane)}: set TASK_QUEUE and TEMPORAL_NAMESPACE to those of the workers; "
            "if workers run with this TASK_QUEUE and TEMPORAL_NAMESPACE, all their slots are taken"
        )


async def _tell_retried(client: Client, name: str, lane: str) -> None:
    """Say how many calls may fail during the pause."""
    try:
        async with reaching_lanes(client):
            count, is_part = await retried_calls(client, lane)
    except (TemporalUnreachable, LaneRefused) as error:
        note(f"how many calls to {name} had a try already, and may fail before it ends, is not known: {error}")
        return
    if count:
        note(f"{counted(count, 'call')} to {name} had a try already, and may fail before the pause ends (call_within)")
    if is_part:
        note(f"only {MOST_RUNS} open runs were looked at for calls to {name} that had a try already")


def _end_of(name: str, until: float) -> str:
    return f"until {utc_text(until)}" if until else f"until `stagehook partner resume {name}`"


async def resume_partner(name: str, reason: str, actor: str) -> None:
    """Release the partner's calls; raises `CommandError` if nothing holds them, or for an unknown partner."""
    check_name(name)
    # Also a partner without a lane: an earlier version held the main queue instead.
    lane, client = call_lane(_task_queue(), name), await connect(os.environ)
    async with reaching_lanes(client):
        hold = (await look_at_lane(client, lane)).hold
        if hold is None:
            raise CommandError(f"nothing holds the calls to {name}", "`stagehook partner list` shows the lanes")
        await release_lane(client, lane, actor=actor, reason=reason or f"resumed by {actor}")
    note(f"resumed: calls to {name} begin again ({hold_text(name, hold)})")


def _task_queue() -> str:
    env = Environment(os.environ)
    queue = read_task_queue(env)
    env.check()
    return queue
