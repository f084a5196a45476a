"""The hostile partner: it takes calls, and calls back as the plan's habits say, until it reads an answer.

It keeps a ledger of its own (`ledger`). It sends to the receivers in turn, whichever of them are there.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs, Claims
from activities.signatures import Scheme
from receiver.sandbox.roles import Role, role_of
from tests.chaos.ledger import Entry, Kind, Ledger
from tests.chaos.plan import CALL_TIMEOUT, Habit
from tests.parts.served_apps import served
from workflows.contract import Answer

AGAIN_SECONDS: Final = 0.3
LONGEST_AGAIN: Final = 4.0
GIVES_UP_AFTER: Final = 400.0
READS_WITHIN: Final = 8.0
"""Seconds after which the partner takes an answer for lost."""

HANGS_FOR: Final = CALL_TIMEOUT + 1.0

LOSES_AFTER: Final = (0.0, 0.02)
"""Seconds for which a connection stays open whose answer the partner loses."""

REPEATED_AT_ONCE: Final = 8


@dataclass
class Call:
    """A call that was taken, known by its idempotency key."""

    key: str
    claims: Claims
    role: Role
    habit: Habit
    urls: set[str] = field(default_factory=set)
    tries: int = 0

    @property
    def url(self) -> str:
        """The callback URL."""
        return min(self.urls)

    def result(self, variant: str = "first") -> Answer:
        """A result that no other call has. variant: of several results of the call."""
        mark = f"{variant}-{self.key}"
        match self.claims.partner:
            case "bank":
                return Answer("succeeded", data={"account_id": mark})
            case "cards":
                return Answer("succeeded", data={"card_id": mark, "last_four": "0000"})
        return Answer("succeeded", data={"mark": mark})


@dataclass(frozen=True)
class Message:
    """A callback as it is sent. signed_id: the id of the delivery, which its signature covers; "" without one."""

    call: Call
    answer: Answer
    body: bytes
    signed_id: str

    @property
    def content(self) -> str:
        """What repeats have in common."""
        claims = self.call.claims
        digest = hashlib.sha256(self.body).hexdigest()[:16]
        return f"{claims.workflow_id}/{claims.stage}/{claims.attempt}/{claims.issued_at}/{self.signed_id}/{digest}"


class HostilePartner:
    """The partner.

    doors: where the receivers listen. habits: see `Plan.habits`; other stages are treated by the standing habit.
    """

    def __init__(
        self,
        urls: CallbackURLs,
        schemes: Mapping[str, Scheme],
        ledger: Ledger,
        habits: Mapping[tuple[str, int], Habit],
        seed: int,
        standing: Habit | None = None,
    ) -> None:
        self.doors: Sequence[str] = ()
        self.calls: dict[str, Call] = {}
        self.faults: list[str] = []
        self.ledger = ledger
        self._urls = urls
        self._schemes = schemes
        self._habits = habits
        self._standing = standing or Habit()
        self._chance = random.Random(seed)
        self._turn = itertools.count()
        self._sending: set[asyncio.Task[None]] = set()
        self._accepted: dict[str, Message] = {}

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Take calls on this port of loopback."""
        app = Starlette(routes=[Route("/{partner}/{collection}", self._take_call, methods=["POST"])])
        async with httpx.AsyncClient(timeout=READS_WITHIN, trust_env=False) as self._http, served(app, port):
            try:
                yield
            finally:
                for task in self._sending:
                    task.cancel()
                await asyncio.gather(*self._sending, return_exceptions=True)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being sent."""
        return not self._sending

    # --- calls

    async def _take_call(self, request: Request) -> Response:
        role = role_of(request.path_params["partner"])
        order = role.read_order(await request.json())
        call = self._find_or_make(request.headers["idempotency-key"], role, order.callback_url)
        call.tries += 1
        if call.tries == 1 and call.habit.first_call == "503":
            return JSONResponse({}, 503, {"Retry-After": "1"})
        work = None
        begins_at = 2 if call.habit.first_call == "503" else 1
        if call.tries == begins_at and not call.habit.silent:
            work = asyncio.create_task(self._work(call))
            self._sending.add(work)
            work.add_done_callback(self._sending.discard)
        if call.tries == 1 and call.habit.first_call == "garbage":
            return Response("{", 202)
        if call.tries == 1 and call.habit.first_call == "hangs":
            await asyncio.sleep(HANGS_FOR)
        if work and call.habit.early:
            await asyncio.wait([work], timeout=3.0)
        return JSONResponse(role.receipt(call.key[:12], Answer("progress")), 202)

    def _find_or_make(self, key: str, role: Role, url: str) -> Call:
        if key not in self.calls:
            claims = self._urls.redeem(url.rpartition(CALLBACKS_PATH)[2])
            habit = self._habits.get((claims.workflow_id, claims.stage), self._standing)
            self.calls[key] = Call(key, claims, role, habit)
        self.calls[key].urls.add(url)
        return self.calls[key]

    # --- callbacks

    async def _work(self, call: Call) -> None:
        for number in range(call.habit.progress):
            await self.send(self.message(call, Answer("progress", message=f"part {number} of {call.key}")))
        if call.habit.forges:
            await self._forge(call)
        if not call.habit.early:
            await asyncio.sleep(call.habit.work)
        result = self.message(call, call.result())
        await asyncio.gather(*(self.send(result, loses=call.habit.loses) for _ in range(call.habit.copies)))
        if call.habit.conflicts:
            await self.send(self.message(call, call.result("second")), kind="conflict")

    async def repeat(self) -> None:
        """Send everything again that was accepted and that a receiver can recognize, and results that come too late."""
        room = asyncio.Semaphore(REPEATED_AT_ONCE)

        async def again(message: Message) -> None:
            async with room:
                await self.send(message, kind="again")

        async def contradict(call: Call) -> None:
            async with room:
                await self.send(self.message(call, call.result("late")), kind="conflict")

        known = [message for message in self._accepted.values() if message.answer.settles or message.signed_id]
        late = [call for call in self.calls.values() if call.habit.conflicts]
        await asyncio.gather(*map(again, known), *map(contradict, late))

    def message(self, call: Call, answer: Answer) -> Message:
        """A callback that says this."""
        said = replace(answer, data={"message": answer.message}) if answer.status == "progress" else answer
        body = json.dumps(call.role.callback(call.key[:12], said)).encode()
        return Message(call, answer, body, uuid.uuid4().hex if call.claims.partner in self._schemes else "")

    async def send(self, message: Message, kind: Kind = "callback", loses: int = 0) -> Entry | None:
        """Send until an answer is read that ends it. loses: how many answers are lost first. None: it was given up."""
        began, pause = time.monotonic(), AGAIN_SECONDS
        while time.monotonic() - began < GIVES_UP_AFTER:
            entry = await self._send_once(message, kind, loses=loses > 0)
            loses -= 1
            if entry.accepted:
                self._accepted[message.content] = message
            if entry.final:
                return entry
            await asyncio.sleep(pause * self._chance.uniform(0.5, 1.0))
            pause = min(LONGEST_AGAIN, pause * 1.5)
        self.faults.append(f"{message.content}: not answered for good within {GIVES_UP_AFTER:g} s")
        return None

    async def _forge(self, call: Call) -> None:
        """Send a token with another stage, and, where the partner signs, a wrong signature."""
        said = self.message(call, call.result("forged"))
        token = call.url.rpartition(CALLBACKS_PATH)[2]
        place = self._chance.randrange(len(token) - 1)
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        await self._send_once(said, "forged", path=CALLBACKS_PATH + altered)
        if said.signed_id:
            await self._send_once(replace(said, body=said.body + b" "), "forged", signed=said.body)

    async def _send_once(
        self, message: Message, kind: Kind, *, loses: bool = False, path: str = "", signed: bytes | None = None
    ) -> Entry:
        call, door = message.call, self.doors[next(self._turn) % len(self.doors)]
        sent_at = time.time()
        headers = [("Content-Type", "application/json")]
        if scheme := self._schemes.get(call.claims.partner):
            covered = message.body if signed is None else signed
            headers += scheme.sign(covered, url=call.url, now=sent_at, delivery_id=message.signed_id)
        url = door + (path or call.url.removeprefix(self._urls.public_url))
        self.ledger.announce(message.content, kind, sent_at)
        try:
            status = await (self._lose if loses else self._read)(url, message.body, headers)
        except (httpx.TransportError, OSError):
            status = 0
        entry = Entry(kind, call.claims, message.answer, message.content, door, sent_at, time.time(), status)
        self.ledger.enter(entry)
        return entry

    async def _read(self, url: str, body: bytes, headers: list[tuple[str, str]]) -> int:
        return (await self._http.post(url, content=body, headers=headers)).status_code

    async def _lose(self, url: str, body: bytes, headers: list[tuple[str, str]]) -> int:
        """Send the whole request, and end the connection without reading."""
        target = httpx.URL(url)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        start = f"POST {target.raw_path.decode()} HTTP/1.1\r\nHost: {target.host}\r\n{head}"
        _, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        await asyncio.sleep(self._chance.uniform(*LOSES_AFTER))
        writer.transport.abort()
        return 0
