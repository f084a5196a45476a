"""A partner that rests between two versions, and the ledger of what it sent.

It plays the sample partners and the sandbox in their own forms (`receiver.sandbox.roles`). For each call it
rests in a state that its habit names, until the versions are switched: only then it sends the result. It sends until it
is answered for good, and repeats later what was accepted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs, Claims
from activities.signatures import Scheme
from receiver.sandbox.roles import Role, role_of
from tests.parts.served_apps import served
from workflows.contract import Answer

AGAIN_SECONDS: Final = 0.2
GIVES_UP_AFTER: Final = 60.0
SPREAD_SECONDS: Final = 1.5
"""Within so many seconds after a switch began the callbacks start, so that they fall before, into and after it."""

DIGEST_LENGTH: Final = 16
"""Characters of a body's SHA-256 digest in the ledger."""

Kind = Literal["callback", "again", "rewritten"]


@dataclass(frozen=True)
class Habit:
    """How the partner answers a call.

    held: the answer to the call is held back until the worker is being stopped. early: the result comes before it.
    at_once: the result is in it. progress: how many progress callbacks come before the rest. asks: a thin callback
    comes before it. rests_from: the first attempt with which the stage is where it is to rest. mute: no result comes.
    """

    held: bool = False
    early: bool = False
    at_once: bool = False
    progress: int = 0
    asks: bool = False
    rests_from: int = 1
    mute: bool = False
    outcome: Literal["succeeded", "failed"] = "succeeded"


HABITS: Final[Mapping[str, Habit]] = {
    "waiting": Habit(),
    "in-call": Habit(held=True),
    "early": Habit(early=True),
    "at-once": Habit(at_once=True),
    "progressed": Habit(progress=2),
    "talkative": Habit(progress=20),
    "asked": Habit(asks=True),
    "called-again": Habit(rests_from=2),
    "mute": Habit(mute=True),
    "declining": Habit(outcome="failed"),
}


@dataclass
class Door:
    """Where callbacks are sent to, and the version that answers there."""

    url: str
    version: str = ""


@dataclass(frozen=True)
class Sent:
    """One request to the receiver, and how it was answered.

    answer: what it says, as the partner's file reads it. content: what repeated requests have in common: the bytes, and
    the delivery id that the signature covers. status: 0 for no answer. at: unix seconds, when it was sent.
    """

    claims: Claims
    answer: Answer
    kind: Kind
    content: str
    status: int
    at: float
    door: str
    version: str

    @property
    def digest(self) -> str:
        """The beginning of the body's digest."""
        return self.content.rpartition("/")[2]

    @property
    def accepted(self) -> bool:
        """Whether it was answered 2xx."""
        return 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Whether the answer ends a partner's tries."""
        return 0 < self.status < 500 and self.status != 429


@dataclass
class Work:
    """What a call started, known by its idempotency key."""

    id: str
    claims: Claims
    habit: Habit
    result: Answer
    begins: asyncio.Event
    urls: set[str] = field(default_factory=set)
    started: bool = False
    rests: bool = False
    done: bool = False
    asked: int = 0

    @property
    def url(self) -> str:
        """The callback URL."""
        return min(self.urls)


@dataclass(frozen=True)
class Message:
    """A callback as it is sent: its body, and the id of the delivery."""

    work: Work
    answer: Answer
    body: bytes
    delivery_id: str


class RestingPartner:
    """The partner, its works and its ledger.

    doors: where callbacks go to: each callback to all of them at once. It may change between two callbacks.
    """

    def __init__(self, http: httpx.AsyncClient, urls: CallbackURLs, schemes: Mapping[str, Scheme]) -> None:
        self.doors: list[Door] = []
        self.works: dict[str, Work] = {}
        self.ledger: list[Sent] = []
        self.faults: list[str] = []
        self._http = http
        self._urls = urls
        self._schemes = schemes
        self._switched = self._switching = asyncio.Event()
        self._released = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._messages: dict[str, Message] = {}
        self._random = random.Random(10)
        self._app = Starlette(
            routes=[
                Route("/{partner}/{collection}", self._take_call, methods=["POST"]),
                Route("/{partner}/{collection}/{work}", self._tell_status, methods=["GET"]),
            ]
        )

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Take calls on this port of loopback."""
        async with served(self._app, port):
            try:
                yield
            finally:
                for task in self._sending:
                    task.cancel()
                await asyncio.gather(*self._sending, return_exceptions=True)
                self._released.set()

    # --- what the test says

    def prepare_switch(self) -> None:
        """Let works that come from now on rest until the switch after the next one.

        Example: an operator ends a wait before a switch. The call of the following stage may come before it as well.
        """
        self._switching, self._switched = self._switched, asyncio.Event()

    def switch(self) -> None:
        """Let every work go on that rested when the switch was prepared."""
        self._switching.set()
        self.release_calls()

    def go_on(self) -> None:
        """Let every work go on, those that are still to come too."""
        self._switched.set()
        self._released.set()

    def release_calls(self) -> None:
        """Answer the calls that are held back; those that come from now on are held back."""
        self._released.set()
        self._released = asyncio.Event()

    async def repeat(self) -> None:
        """Send every accepted callback again that a receiver can know: as it was, and the results in other bytes."""
        accepted = {sent.content for sent in self.ledger if sent.accepted and sent.kind == "callback"}
        messages = [self._messages[content] for content in accepted]
        known = [message for message in messages if message.answer.settles or message.delivery_id]
        results = [message for message in known if message.answer.settles]
        # One after the other, and not on a machine that has to do other things at once, as many as there are.
        for message in known:
            await self._send(message, "again")
        for message in results:
            await self._send(replace(message, body=_rewritten(message.body)), "rewritten")

    def resting(self) -> set[tuple[str, int]]:
        """The workflow ids and stages of the works that rest."""
        return {(work.claims.workflow_id, work.claims.stage) for work in self.works.values() if work.rests}

    def accepted(self) -> int:
        """How many requests were answered 2xx so far."""
        return sum(sent.accepted for sent in self.ledger)

    def is_idle(self) -> bool:
        """Whether nothing is being sent."""
        return not self._sending

    # --- its API

    async def _take_call(self, request: Request) -> Response:
        role = role_of(request.path_params["partner"])
        order = role.read_order(await request.json())
        work = self._find_or_make(request.headers["idempotency-key"], role, order.callback_url, order.data)
        released = self._released
        if not work.started:
            work.started = True
            sending = asyncio.create_task(self._call_back(work, role))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
            if work.habit.early:
                await sending
            if work.habit.held:
                await released.wait()
        said = work.result if work.habit.at_once else Answer("progress")
        return JSONResponse(role.receipt(work.id, said), 200 if work.habit.at_once else 202)

    def _find_or_make(self, key: str, role: Role, url: str, data: Mapping[str, Any]) -> Work:
        if key not in self.works:
            claims = self._urls.redeem(url.rpartition(CALLBACKS_PATH)[2])
            habit = HABITS[data.get("habit", "waiting")]
            id_ = f"{claims.partner}-{key[:12]}"
            found = Answer("succeeded", data=role.findings(id_, data))
            result = found if habit.outcome == "succeeded" else Answer("failed", code="declined", message="not today")
            self.works[key] = Work(id_, claims, habit, result, self._switched)
        self.works[key].urls.add(url)
        return self.works[key]

    async def _tell_status(self, request: Request) -> Response:
        partner, id_ = request.path_params["partner"], request.path_params["work"]
        role, found = role_of(partner), [work for work in self.works.values() if work.id == id_]
        if not found or role.status is None:
            return JSONResponse({"error": "unknown"}, 404)
        [work] = found
        work.asked += 1
        work.rests = work.rests or work.habit.asks
        return JSONResponse(role.status(id_, work.result if work.done else Answer("progress")))

    # --- its callbacks

    async def _call_back(self, work: Work, role: Role) -> None:
        for number in range(work.habit.progress):
            await self._say(work, role, Answer("progress", data={"message": f"part {number}"}))
        if work.habit.asks:
            await self._say(work, role, Answer("progress"))
        elif work.claims.attempt >= work.habit.rests_from:
            work.rests = True
        if not (work.habit.early or work.habit.at_once):
            await work.begins.wait()
            await asyncio.sleep(self._random.uniform(0, SPREAD_SECONDS))
        work.done = True
        if not (work.habit.at_once or work.habit.mute):
            await self._say(work, role, work.result)

    async def _say(self, work: Work, role: Role, answer: Answer) -> None:
        body = json.dumps(role.callback(work.id, answer)).encode()
        signs_id = work.claims.partner == "bank"
        message = Message(work, _as_read(answer, role), body, uuid.uuid4().hex if signs_id else "")
        self._messages[_content(message)] = message
        await self._send(message, "callback")

    async def _send(self, message: Message, kind: Kind) -> None:
        """Send to every door at once, until each has answered for good."""
        await asyncio.gather(*(self._send_to(door, message, kind) for door in list(self.doors)))

    async def _send_to(self, door: Door, message: Message, kind: Kind) -> None:
        began = time.monotonic()
        while time.monotonic() - began < GIVES_UP_AFTER:
            if door not in self.doors:
                return  # it is closed for good, and the other one was sent the same
            sent = await self._post(door, message, kind)
            self.ledger.append(sent)
            if sent.final:
                return
            await asyncio.sleep(AGAIN_SECONDS)
        self.faults.append(f"{_name(message.work.claims)}: {message.answer.status} was not answered for good")

    async def _post(self, door: Door, message: Message, kind: Kind) -> Sent:
        work, at, version = message.work, time.time(), door.version
        headers = [("Content-Type", "application/json")]
        if scheme := self._schemes.get(work.claims.partner):
            signed_id = message.delivery_id or uuid.uuid4().hex
            headers += scheme.sign(message.body, url=work.url, now=at, delivery_id=signed_id)
        path = work.url.removeprefix(self._urls.public_url)
        try:
            status = (await self._http.post(door.url + path, content=message.body, headers=headers)).status_code
        except httpx.TransportError:
            status = 0
        return Sent(work.claims, message.answer, kind, _content(message), status, at, door.url, version)


def _as_read(answer: Answer, role: Role) -> Answer:
    """The answer as the partner's file reads it out of the callback."""
    if role.status is not None:  # thin
        return Answer("ask", message="inquiry.completed" if answer.settles else "inquiry.transitioned")
    if answer.status == "progress":
        return Answer("progress", message=str(answer.data.get("message", "")))
    return answer


def _content(message: Message) -> str:
    claims = message.work.claims
    said = hashlib.sha256(message.body).hexdigest()[:DIGEST_LENGTH]
    return f"{_name(claims)}/{claims.attempt}/{claims.issued_at}/{message.delivery_id}/{said}"


def _name(claims: Claims) -> str:
    return f"{claims.workflow_id} stage {claims.stage}"


def _rewritten(body: bytes) -> bytes:
    """The same JSON in other bytes."""
    return json.dumps(json.loads(body), indent=1).encode()


def faults_of_calls(works: Collection[Work]) -> list[str]:
    """Calls that were repeated with another URL or another idempotency key."""
    faults = [f"{_name(work.claims)}: one key, {len(work.urls)} URLs" for work in works if len(work.urls) > 1]
    keys: dict[Claims, int] = {}
    for work in works:
        keys[work.claims] = keys.get(work.claims, 0) + 1
    return faults + [f"{_name(claims)}: {count} keys for one call" for claims, count in keys.items() if count > 1]
