"""`stagehook delivery tail --replay-to`: replay a store's deliveries to another receiver as they are recorded."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import httpx

from activities.callback_urls import CallbackURLs
from activities.client import TemporalUnreachable, connect
from activities.run_errors import NoSuchStage, ProgressUnknown, RunEnded, RunNotFound
from activities.runs import Runs
from activities.settings import Settings
from activities.store.calls import Calls
from activities.store.database import Database
from activities.store.errors import BadDatabaseURL, StoreAway
from receiver.cli.db.store import need_archive
from receiver.cli.delivery.echoes import Echoes
from receiver.cli.delivery.following import FilteredFollowing
from receiver.cli.delivery.listing import TAIL_SECONDS, line_of, refuse_end, summary
from receiver.cli.delivery.replay_plan import ReplayRequest
from receiver.cli.delivery.replaying import confirm_other_machine, is_remote, receiver_url, tell_temporal
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import ANSWER_TIMEOUT, cancel_on_signals, counted, note, print_json, say
from receiver.cli.terminal import printable
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.filters import Filters
from receiver.replay.errors import CannotSign, NoStandIn, NotReplayable, PartnerNotEnabled
from receiver.replay.following import LiveAim, LiveNamedRun
from receiver.replay.sending import NO_CALL_YET, UNPROVEN, Replay, Replayed, requests_of, select
from receiver.replay.stand_ins import is_stand_in

AWAY_SECONDS: Final = 2.0
"""Seconds between two tries while the receiver, its Temporal or the store is away."""

MOST_TRIES: Final = 30
"""Tries of a request that is answered 503 or 429, or not at all; a receiver that refuses connections has any number."""

TRY_LATER: Final = {429, 503}
"""Statuses of a receiver that is away: it may take the request later."""

MOST_REMEMBERED: Final = 10_000
"""Deliveries that are remembered as sent."""

NOT_SENDABLE: Final = (CannotSign, NoStandIn, NotReplayable, PartnerNotEnabled, NoSuchStage, RunEnded, RunNotFound)
"""Errors of one delivery: the others are sent."""

AWAY_ERRORS: Final = (TemporalUnreachable, ProgressUnknown, StoreAway)
"""Errors of a system that is away, or has no worker: it is waited for."""


@dataclass(frozen=True)
class RelayOptions:
    """The typed options. to: the receiver's base URL. run, store: "" if not given."""

    filters: Filters
    to: str
    run: str
    store: str
    allow_remote: bool
    yes: bool
    as_json: bool


async def relay_as_they_come(options: RelayOptions) -> None:
    """Replay deliveries as they are recorded, without end. Raises `CommandError`, `SettingsError` and `StoreAway`."""
    refuse_end(options.filters)
    settings = Settings.from_env(os.environ)
    to = receiver_url("--replay-to", options.to, allow_remote=options.allow_remote)
    request = ReplayRequest(to, options.allow_remote, "resign", start=False, workflow=options.run, stage=0)
    archive = need_archive(read_only=True)
    tell_temporal(request)
    if not options.yes and is_remote(request):
        confirm_other_machine()
    cancel_on_signals()
    runs = Runs(await connect(os.environ, lazy=True))
    aim = LiveNamedRun(runs, options.run) if options.run else LiveAim(runs, settings.task_queue)
    async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT, trust_env=False) as http:
        replay = Replay(
            http,
            CallbackURLs(to, settings.callback_keys),
            settings.partners,
            refer=Calls(_own_store(options.store)).refer if options.store else None,
        )
        relay = Relay(archive, options, replay, aim)
        note(printable(f"new deliveries go to {to}; Ctrl-C ends this"))
        try:
            await relay.run()
        finally:
            if left := await aim.aclose():
                note(f"{counted(left, 'stand-in')} left open: `stagehook pipeline cancel` ends them")


def _own_store(url: str) -> Database:
    try:
        return Database(url)
    except BadDatabaseURL as error:
        raise CommandError(f"--to-store {error}", "give sqlite:///FILE or postgresql://...", Exit.USAGE) from error


class Relay:
    """Sends the deliveries of an archive that match the options, in the order of receipt, each request once."""

    def __init__(self, archive: Archive, options: RelayOptions, replay: Replay, aim: LiveAim | LiveNamedRun) -> None:
        self._archive = archive
        self._options = options
        self._filters = replace(options.filters, matched=True)
        self._replay = replay
        self._aim = aim
        self._matching = FilteredFollowing(archive, self._filters)
        self._found: list[str] | None = None
        self._may_be_more = False
        self._seen: dict[str, None] = {}
        self._echoes = Echoes()
        self._away = ""
        self._tries = 0

    async def run(self) -> None:
        """Send without end."""
        while True:
            requests, may_be_more = await self._look()
            for request in requests:
                await self._send(request)
            sys.stdout.flush()
            if not may_be_more:
                await asyncio.sleep(TAIL_SECONDS)

    async def _look(self) -> tuple[list[list[Delivery]], bool]:
        """Return the next requests, and whether there may be more now; waits for a store that is away."""
        while True:
            try:
                if self._found is None:
                    found, self._may_be_more = self._matching.more()
                    self._found = [one.id for one in found]
                whole = self._with_events(self._archive.with_requests(self._archive.those(self._found)))
            except StoreAway as error:
                await self._wait(str(error))
            else:
                self._found = None
                return self._requests(whole), self._may_be_more

    def _with_events(self, found: Sequence[Delivery]) -> list[Delivery]:
        """Add the other events of the requests that the filters may select: they are sent together."""
        ids = {one.id for one in found}
        return [one for one in self._archive.with_requests(found) if one.id in ids or self._filters.may_match(one)]

    def _requests(self, found: Sequence[Delivery]) -> list[list[Delivery]]:
        echoes = self._echoes.take(found, self._seen)
        for id_ in sorted(echoes):
            note(printable(f"not sent again: {id_}, it is what this relay has sent"))
        self._remember([one for one in found if (one.part_of or one.id) in echoes])
        meant = [one for one in found if (one.part_of or one.id) not in echoes and not self._is_of_a_replay(one)]
        chosen, left = select(meant, unproven=UNPROVEN in self._options.filters.verdicts)
        for one, why in left:
            if why != NO_CALL_YET:  # it is found again once its call is known
                self._leave_out(one, why)
        return [request for request in requests_of(chosen) if self._is_new(request)]

    def _is_of_a_replay(self, one: Delivery) -> bool:
        """Whether a replay has sent this delivery to a run that deliveries are replayed to."""
        return is_stand_in(one.workflow_id) or (bool(self._options.run) and one.workflow_id == self._options.run)

    def _is_new(self, request: Sequence[Delivery]) -> bool:
        """Whether an event of the request was not sent yet: each may lead here, and may have waited for its call."""
        new = [one for one in request if one.id not in self._seen]
        self._remember(new)
        return bool(new)

    def _remember(self, handled: Sequence[Delivery]) -> None:
        self._seen.update(dict.fromkeys(one.id for one in handled))
        while len(self._seen) > MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]

    async def _send(self, request: Sequence[Delivery]) -> None:
        """Send a request until it is answered; waits for a receiver that is away."""
        self._tries = 0
        try:
            self._replay.check(request)
            while not await self._was_answered(request):
                pass
        except NOT_SENDABLE as error:
            for one in request:
                self._leave_out(one, str(error))

    async def _was_answered(self, request: Sequence[Delivery]) -> bool:
        try:
            replayed = [one async for one in self._replay.send_all(request, self._aim)]
        except AWAY_ERRORS as error:
            await self._wait(str(error))
            return False
        if replayed[0].unreachable:
            await self._wait(f"{self._options.to} does not answer ({replayed[0].error})")
            return False
        self._echoes.expect(replayed)
        if is_away := replayed[0].interrupted or replayed[0].answered in TRY_LATER:
            self._tries += 1
            if self._tries < MOST_TRIES:  # to send it again is safe: if it arrived, the next one is its duplicate
                await self._wait(f"{self._options.to} {_answer_of(replayed[0])}")
                return False
        if self._away and not is_away:
            note("it is there again")
            self._away = ""
        await self._aim.note_sent(replayed)
        for one in replayed:
            self._print(one)
        return True

    async def _wait(self, why: str) -> None:
        if not self._away:
            note(printable(f"{why}: waiting for it"))
            self._away = why
        sys.stdout.flush()
        await asyncio.sleep(AWAY_SECONDS)

    def _print(self, one: Replayed) -> None:
        if self._options.as_json:
            sent = {"into": one.workflow_id, "answered": one.answered, "error": one.error}
            print_json({**summary(one.delivery), **sent}, indent=None)
        else:
            say(printable(f"{line_of(one.delivery)}  -> {one.answered or one.error} {one.workflow_id}"))

    def _leave_out(self, one: Delivery, why: str) -> None:
        note(printable(f"left out: {one.id}, {why}"))


def _answer_of(one: Replayed) -> str:
    return f"does not answer ({one.error})" if one.error else f"answers {one.answered}"
