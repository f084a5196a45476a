"""Single: send one captured delivery again, with the request that it came in, to the run that it was for.

It is what `stagehook delivery replay ID` does for a run that this Temporal has, with a new token and a new signature.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import httpx

from activities.callback_urls import CallbackURLs, Claims
from activities.partners.partner import Partner
from activities.runs import Runs
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery
from receiver.replay.aims import CapturedClaims
from receiver.replay.errors import NotReplayable
from receiver.replay.sending import Replay, Replayed, select

ANSWER_WITHIN: Final = 10.0
"""Seconds for the receiver to answer."""


def find_request(archive: Archive, id_: str) -> list[Delivery]:
    """Return what is sent again with a delivery: itself, or every event of its request.

    Raises `NoSuchDelivery`, `NotReplayable` and `StoreAway`.
    """
    chosen, left = select(archive.with_requests(archive.named([id_])), unproven=True)
    if not chosen:
        raise NotReplayable(f"{id_} cannot be sent again: {'; '.join(why for _, why in left) or 'it has no events'}")
    return chosen


async def send_again(
    deliveries: Sequence[Delivery],
    urls: CallbackURLs,
    partners: Mapping[str, Partner],
    runs: Runs,
    refer: Callable[[Claims, str], Awaitable[None]],
) -> list[Replayed]:
    """Send the deliveries of a request to the receiver of `urls`, and return its answer for each.

    partners: sign the body. refer: as of a `Replay`. Raises `PartnerNotEnabled`, `CannotSign`, `NotReplayable`, and
    what `Runs.has` raises.
    """
    async with httpx.AsyncClient(timeout=ANSWER_WITHIN, trust_env=False) as http:
        replay = Replay(http, urls, partners, refer=refer)
        replay.check(deliveries)
        for one in deliveries:
            if not await runs.has(one.workflow_id, one.chain_id):
                advice = f"`stagehook delivery replay {one.id}` sends it to a stand-in"
                raise NotReplayable(f"the run {one.workflow_id} is not in this Temporal: {advice}")
        return [replayed async for replayed in replay.send_all(deliveries, CapturedClaims())]
