"""The state of a partner's lane in words."""

from __future__ import annotations

import time
from typing import Final

from activities.lanes import PARTITIONS, POLLS_WITHIN, Hold, LaneState, has_lane
from receiver.telling.moments import utc_text

ALL_TAKEN: Final = "if a worker runs, requests that hang take all its slots: wait for them, or start another worker"
"""What else may be the case of a lane that no worker serves: without a free slot, a worker asks for no tasks."""


def unserved_text(lane: str) -> str:
    """Say that no worker asks for the tasks of a lane."""
    return f"no worker has asked for tasks from {lane} for {POLLS_WITHIN:.0f} s"


def lane_text(partner: str, lane: LaneState) -> str:
    """Describe a lane in one line, with what to do where something holds its calls."""
    if lane.hold is not None:
        return hold_text(partner, lane.hold)
    if not lane.served:
        return f"{unserved_text(lane.task_queue)}: start `stagehook worker` with {partner} in PARTNERS; {ALL_TAKEN}"
    return "served" if has_lane(partner) else "served on the main queue, so it cannot be paused"


def hold_text(partner: str, hold: Hold) -> str:
    """Describe in one line what holds a partner's calls, and what ends it."""
    since = f"since {utc_text(hold.since)}"
    if hold.by == "worker":
        pace = f"{1 / hold.rate:.0f} to {PARTITIONS / hold.rate:.0f} s"
        return f"slow {since}: {hold.reason}; a call is tried every {pace} until one reaches it"
    resume = f"`stagehook partner resume {partner}`"
    until = f"until {utc_text(hold.until)}" if hold.until else f"until {resume}"
    if hold.is_over(time.time()):
        # Workers look every `LOOK_SECONDS`: none runs, or Temporal does not let them set rates.
        until += f" (over, but no worker has ended it; {resume} does)"
    if hold.by == "operator":
        return f"paused by {hold.actor} {since}, {until}: {hold.reason}"
    return f"held to {hold.rate:g} calls a second by {hold.actor or 'another program'} {since}, {until}: {hold.reason}"
