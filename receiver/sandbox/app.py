"""An ASGI app that plays the sandbox partner and the sample partners: it answers calls as its script says.

It uses each partner's own format (`roles`) and signature scheme. The script names a play for each attempt of each
partner. Example: with `{"esign": ["never", "later"]}`, attempt 1 at `esign` gets no callback, and all further attempts
get one. The app keeps a ledger of its calls and of the answers to its callbacks, without URLs or tokens, at
`GET /ledger`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from activities.callback_urls import PARTNERS_PATH
from activities.signatures import Scheme, SignedRequest
from receiver.sandbox.roles import Order, Role, role_of
from receiver.sandbox.work import NO_RESULT, PLAYS, Kind, Play, SentCallback, Work
from receiver.sandbox.work_ids import data_in, work_id
from workflows.contract import Answer

RETRY_DELAYS: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0, 10.0, 10.0, 10.0)
"""Seconds between the tries of a callback, while there is no answer or the answer is 429 or 5xx."""

DEFAULT_RECEIVER: Final = "http://127.0.0.1:8000"
"""Where the receiver listens that is started without settings."""

MOST_SENDING: Final = 500
"""Works whose callbacks are on their way. Further calls are answered 503, so that they are made again."""

MOST_WORKS: Final = 10_000
"""Works in the ledger. The oldest is forgotten first."""

BETWEEN_TIMES: Final = 0.1
"""Seconds between a callback and its duplicate."""


ASKED: Final = "play:"
"""Prefix of a value in the call's data that chooses the play for this call, such as `play:twice`, over the script."""


class SandboxPartner:
    """The app and its ledger.

    http: sends the callbacks; the caller closes it.
    script: plays by partner and attempt; a partner without plays uses `later`.
    schemes: how each partner signs its callbacks; a partner without a scheme does not sign.
    public_url: where partners reach the receiver. A partner with one webhook URL sends its callbacks below it.
    may_call_back: whether a callback may be sent to the URL of a call. A call with another URL is answered 422.
    remembers_by_id: whether the id of a work holds its data, so that its status is known after a restart, and in
        another process.
    seed: decides what `mixed` picks. delay: seconds to a callback, replacing the delay of every play.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        script: Mapping[str, Sequence[str]] | None = None,
        *,
        schemes: Mapping[str, Scheme] | None = None,
        public_url: str = DEFAULT_RECEIVER,
        may_call_back: Callable[[str], bool] = lambda url: True,
        remembers_by_id: bool = False,
        seed: int = 0,
        delay: float | None = None,
    ) -> None:
        self._http = http
        self._script = script or {}
        self._schemes = schemes or {}
        self._webhook_urls = public_url + PARTNERS_PATH
        self._may_call_back = may_call_back
        self._remembers_by_id = remembers_by_id
        self._stopping = asyncio.Event()
        self._random = random.Random(seed)  # noqa: S311 - picks plays, protects nothing
        self._delay = delay
        self._sending: set[asyncio.Task[None]] = set()
        self.ledger: dict[str, Work] = {}
        self._by_id: dict[tuple[str, str], Work] = {}
        self.app = Starlette(
            routes=[
                Route("/{partner}/{collection}", self._take_call, methods=["POST"]),
                Route("/{partner}/{collection}/{work}", self._tell_status, methods=["GET"]),
                Route("/{partner}/{collection}/{work}{below:path}", self._take_telling, methods=["PUT", "POST"]),
                Route("/ledger", self._show_ledger),
            ]
        )
        self.app.router.redirect_slashes = False

    async def finish(self, http: httpx.AsyncClient, within: float) -> None:
        """Send all remaining callbacks now, by `http`, each of them once. within: seconds for all of them."""
        self._http = http
        self._stopping.set()
        if self._sending:
            await asyncio.wait(self._sending, timeout=within)

    async def aclose(self) -> None:
        """Stop sending callbacks."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _take_call(self, request: Request) -> Response:
        partner: str = request.path_params["partner"]
        role = role_of(partner)
        if request.path_params["collection"] != role.collection:
            return _error(404, "unknown", f"{partner} takes calls at {role.collection}")
        try:
            order = role.read_order(await request.json())
            key = request.headers["idempotency-key"]
        except (ValueError, KeyError, TypeError):
            return _error(400, "malformed", "send an Idempotency-Key, and a call in this partner's form")
        url = self._webhook_urls + partner if role.has_one_url else order.callback_url
        if not self._may_call_back(url):
            return _error(422, "foreign", "this partner calls back only the receiver that it is part of")
        if key not in self.ledger and (len(self._sending) >= MOST_SENDING or self._stopping.is_set()):
            return _error(503, "busy", "come back later", {"Retry-After": "1"})
        work = self.ledger[key] if key in self.ledger else self._begin(key, partner, order)
        work.tries += 1
        work.result = _result(work, order.data)
        return await self._answer(work, url)

    def _begin(self, key: str, partner: str, order: Order) -> Work:
        play = self._choose(partner, order.attempt, order.data)
        name = work_id(partner, key, order.data if self._remembers_by_id else None)
        work = self.ledger[key] = Work(name, partner, order.attempt, play, time.time())
        self._by_id[partner, work.id] = work
        if len(self.ledger) > MOST_WORKS:
            oldest = self.ledger.pop(next(iter(self.ledger)))
            self._by_id.pop((oldest.partner, oldest.id), None)
        return work

    async def _answer(self, work: Work, url: str) -> Response:
        play, role = work.play, role_of(work.partner)
        if work.tries <= play.busy:
            return _error(503, "busy", "come back later", {"Retry-After": "1"})
        if not 200 <= play.status < 300:
            return _error(play.status, "invalid", "this partner does not take that")
        if not work.started and not play.at_once:
            work.started = True
            sending = asyncio.create_task(self._send_all(work, url))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
            if play.early:
                await sending
        await asyncio.sleep(play.slow)
        work.done = work.done or play.at_once
        work.returned_at = time.time()
        said = work.result if play.at_once else NO_RESULT
        return JSONResponse(role.receipt(work.id, said), 200 if play.at_once else play.status)

    async def _tell_status(self, request: Request) -> Response:
        work, role = self._find(request)
        return self._status(None if role.asked_by else work, role)

    def _status(self, work: Work | None, role: Role) -> Response:
        if work is None or role.status is None:
            return _error(404, "unknown", "unknown work, or it cannot be asked about")
        work.asked += 1
        return JSONResponse(role.status(work.id, work.result if work.done else NO_RESULT))

    async def _take_telling(self, request: Request) -> Response:
        work, role = self._find(request)
        if role.asked_by and request.path_params["work"] == "get":
            asked = (await request.json()).get(role.asked_by)
            return self._status(self._work(request.path_params["partner"], asked), role)
        said = (request.method, request.path_params["below"], await request.body())
        if work and role.stop and role.stop.is_told_by(*said):
            if work.done:
                return _error(409, "finished", "there is nothing left to stop")
            work.stopped = True
            return JSONResponse(role.stop.answer(work.id))
        if work and role.undo and role.undo.is_told_by(*said):
            if not work.done:
                return _error(409, "unfinished", "there is nothing yet to undo")
            work.undone = True
            return JSONResponse(role.undo.answer(work.id))
        return _error(404, "unknown", "unknown work, or it cannot be stopped or undone")

    def _find(self, request: Request) -> tuple[Work | None, Role]:
        partner, name = request.path_params["partner"], request.path_params["work"]
        return self._work(partner, name), role_of(partner)

    def _work(self, partner: str, name: str) -> Work | None:
        found = self._by_id.get((partner, name))
        return found if found or not self._remembers_by_id else self._remembered(partner, name)

    def _remembered(self, partner: str, name: str) -> Work | None:
        """A finished work of another process, or from before a restart, made again of its id."""
        if (data := data_in(partner, name)) is None:
            return None
        play = self._choose(partner, 1, data)
        work = Work(name, partner, 1, play, 0.0, done=play.times > 0 or play.lost)
        work.result = _result(work, data)
        return work

    async def _send_all(self, work: Work, url: str) -> None:
        play, result = work.play, work.result
        pause = 0.0 if play.early else play.delay / 2
        await self._pause(0.0 if play.early else play.slow)
        await self._pause(pause)
        if play.times and role_of(work.partner).reports_progress:
            await self._send(work, "progress", url, NO_RESULT)
        await self._pause(pause)
        if work.stopped:
            return
        work.done = play.times > 0 or play.lost
        if play.forged:
            await self._send(work, "forged", _forge(url), result)
        if play.missigned and work.partner in self._schemes:
            await self._send(work, "missigned", url, result)
        delivery_id = uuid.uuid4().hex
        for again in range(play.times):
            await asyncio.sleep(BETWEEN_TIMES if again else 0)
            await self._send(work, "callback", url, result, delivery_id)

    async def _send(self, work: Work, kind: Kind, url: str, answer: Answer, delivery_id: str = "") -> None:
        body = json.dumps(role_of(work.partner).callback(work.id, answer)).encode()
        delivery_id = delivery_id or uuid.uuid4().hex
        for delay in (*RETRY_DELAYS, None):
            request = self._signed(work.partner, body, url, delivery_id)
            if kind == "missigned":
                request = replace(request, body=request.body + b" ")
            is_last = delay is None or self._stopping.is_set()
            status = await self._post(request)
            work.deliveries.append(SentCallback(kind, status, time.time()))
            if is_last or (status and status != 429 and status < 500):
                return
            await self._pause(delay or 0.0)

    async def _post(self, request: SignedRequest) -> int:
        """Send once; return the status, or 0 without an answer. A stop ends a try that has begun before it."""
        sending = asyncio.ensure_future(
            self._http.post(request.url, content=request.body, headers=list(request.headers))
        )
        if not self._stopping.is_set():
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait([sending, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not sending.done():
                sending.cancel()
                return 0
        try:
            return (await sending).status_code
        except httpx.TransportError:
            return 0

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _signed(self, partner: str, body: bytes, url: str, delivery_id: str) -> SignedRequest:
        """The callback. Each try gets a new signature with the current time and the delivery's id."""
        scheme = self._schemes.get(partner)
        request = SignedRequest("POST", url, [("Content-Type", "application/json")], body)
        return scheme.sign_request(request, now=time.time(), delivery_id=delivery_id) if scheme else request

    def _choose(self, partner: str, attempt: int, data: Mapping[str, Any]) -> Play:
        names = self._script.get(partner) or ["later"]
        asked = [value[len(ASKED) :] for value in data.values() if isinstance(value, str) and value.startswith(ASKED)]
        name = next((name for name in asked if name in PLAYS), names[min(attempt, len(names)) - 1])
        play = PLAYS[self._random.choice(sorted(PLAYS)) if name == "mixed" else name]
        return play if self._delay is None else replace(play, delay=self._delay)

    async def _show_ledger(self, request: Request) -> Response:
        return JSONResponse([_shown(work) for work in self.ledger.values()])


def _shown(work: Work) -> dict[str, Any]:
    shown = asdict(work)
    del shown["result"]
    return shown


def _result(work: Work, data: Mapping[str, Any]) -> Answer:
    if work.play.outcome == "failed":
        return Answer("failed", code="declined", message="the sandbox was told to decline")
    return Answer("succeeded", data=role_of(work.partner).findings(work.id, data))


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


IN_CLAIMS: Final = 30
"""A place in the claims of a token of any version: they begin after 3 characters at most, and have 40 and more."""


def _forge(url: str) -> str:
    """The same URL with a character of the token's claims changed: well-formed, but with an invalid signature."""
    place = url.rindex("/") + IN_CLAIMS
    return f"{url[:place]}{'A' if url[place] != 'A' else 'B'}{url[place + 1 :]}"
