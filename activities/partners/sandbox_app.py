"""The other side of the sandbox partner: an ASGI app that takes calls and answers them as its script says.

The script names a play for each attempt of each partner (`{"esign": ["never", "later"]}`: the last one repeats). The
app keeps a ledger of what it was asked and what it was answered, without URLs or tokens, at `GET /ledger`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

RETRY_DELAYS: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0, 10.0, 10.0, 10.0)
"""Seconds between the tries of one callback, as long as nobody answers or the answer is 429 or 5xx."""

BETWEEN_TIMES: Final = 0.1
"""Seconds between a callback and its duplicate."""


@dataclass(frozen=True)
class Play:
    """How one call is answered.

    status: the HTTP status of the call's immediate answer; anything but a 2xx starts no work.
    busy: how many tries are answered 503 before that.
    slow: seconds before the immediate answer. delay: seconds from there to the callback.
    at_once: the result is in the immediate answer, and no callback follows. early: the callback comes before it.
    times: how often the callback is sent. forged: first, one is sent with a changed token.
    outcome: what the callback says.
    """

    status: int = 202
    busy: int = 0
    slow: float = 0.0
    delay: float = 0.5
    at_once: bool = False
    early: bool = False
    times: int = 1
    forged: bool = False
    outcome: Literal["succeeded", "failed"] = "succeeded"


PLAYS: Final[Mapping[str, Play]] = {
    "at-once": Play(at_once=True),
    "later": Play(),
    "twice": Play(times=2),
    "early": Play(early=True),
    "never": Play(times=0),
    "failing": Play(outcome="failed"),
    "slow": Play(slow=3.0),
    "busy": Play(busy=2),
    "refusing": Play(status=422),
    "forged": Play(forged=True),
}
"""The plays by name. `mixed` in a script picks one of them by the app's seed."""


ASKED: Final = "play:"
"""A value of the call's data that begins so names the play for this call, whatever the script says."""


@dataclass
class Delivery:
    """One callback that was sent: what it was, the status it was answered (0: none), and when (unix seconds)."""

    kind: Literal["callback", "forged"]
    answered: int
    at: float


@dataclass
class Work:
    """One piece of work that a call started, known by its idempotency key. Times are unix seconds."""

    id: str
    partner: str
    attempt: int
    play: Play
    called_at: float
    returned_at: float = 0.0
    tries: int = 0
    started: bool = False
    deliveries: list[Delivery] = field(default_factory=list)


class SandboxPartner:
    """The app and its ledger.

    http: sends the callbacks; it belongs to the caller.
    script: plays by partner and attempt; a partner without one plays `later`.
    seed: decides what `mixed` picks. delay: seconds to a callback, in place of each play's own.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        script: Mapping[str, Sequence[str]] | None = None,
        *,
        seed: int = 0,
        delay: float | None = None,
    ) -> None:
        self._http = http
        self._script = script or {}
        self._random = random.Random(seed)  # noqa: S311 - picks plays, protects nothing
        self._delay = delay
        self._sending: set[asyncio.Task[None]] = set()
        self.ledger: dict[str, Work] = {}
        self.app = Starlette(
            routes=[
                Route("/{partner}/calls", self._take_call, methods=["POST"]),
                Route("/ledger", self._show_ledger),
            ]
        )

    async def aclose(self) -> None:
        """Stop sending callbacks."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _take_call(self, request: Request) -> Response:
        partner: str = request.path_params["partner"]
        try:
            call = await request.json()
            key, attempt = request.headers["idempotency-key"], int(call["attempt"])
            url, data = str(call["callback_url"]), dict(call["data"])
        except (ValueError, KeyError, TypeError):
            message = "send an Idempotency-Key, and JSON with callback_url, attempt and data"
            return JSONResponse({"error": {"code": "malformed", "message": message}}, 400)
        if key not in self.ledger:
            play = self._choose(partner, attempt, data)
            self.ledger[key] = Work(f"{partner}-{key[:8]}", partner, attempt, play, time.time())
        work = self.ledger[key]
        work.tries += 1
        return await self._answer(work, url, self._result(work, data))

    async def _answer(self, work: Work, url: str, result: Mapping[str, Any]) -> Response:
        play = work.play
        if work.tries <= play.busy:
            return JSONResponse({"error": {"code": "busy", "message": "come back later"}}, 503, {"Retry-After": "1"})
        if not 200 <= play.status < 300:
            error = {"code": "invalid", "message": "this partner does not take that"}
            return JSONResponse({"error": error}, play.status)
        if not work.started and not play.at_once:
            work.started = True
            sending = asyncio.create_task(self._send_all(work, url, result))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
            if play.early:
                await sending
        await asyncio.sleep(play.slow)
        work.returned_at = time.time()
        return JSONResponse(result, 200) if play.at_once else JSONResponse({"id": work.id}, play.status)

    async def _send_all(self, work: Work, url: str, result: Mapping[str, Any]) -> None:
        if not work.play.early:
            await asyncio.sleep(work.play.slow + work.play.delay)
        if work.play.forged:
            await self._send(work, "forged", _forge(url), result)
        for again in range(work.play.times):
            await asyncio.sleep(BETWEEN_TIMES if again else 0)
            await self._send(work, "callback", url, result)

    async def _send(self, work: Work, kind: Literal["callback", "forged"], url: str, result: Mapping[str, Any]) -> None:
        for delay in (*RETRY_DELAYS, None):
            try:
                status = (await self._http.post(url, json=result)).status_code
            except httpx.TransportError:
                status = 0
            work.deliveries.append(Delivery(kind, status, time.time()))
            if delay is None or (status and status != 429 and status < 500):
                return
            await asyncio.sleep(delay)

    def _choose(self, partner: str, attempt: int, data: Mapping[str, Any]) -> Play:
        names = self._script.get(partner) or ["later"]
        asked = [value[len(ASKED) :] for value in data.values() if isinstance(value, str) and value.startswith(ASKED)]
        name = next((name for name in asked if name in PLAYS), names[min(attempt, len(names)) - 1])
        play = PLAYS[self._random.choice(sorted(PLAYS)) if name == "mixed" else name]
        return play if self._delay is None else replace(play, delay=self._delay)

    def _result(self, work: Work, data: Mapping[str, Any]) -> dict[str, Any]:
        if work.play.outcome == "failed":
            error = {"code": "declined", "message": "the sandbox was told to decline"}
            return {"id": work.id, "status": "failed", "error": error}
        return {"id": work.id, "status": "succeeded", "data": _findings(work.partner, work.id, data)}

    async def _show_ledger(self, request: Request) -> Response:
        return JSONResponse([asdict(work) for work in self.ledger.values()])


def _findings(partner: str, reference: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What a partner of this kind finds out, in the form that the shipped pipeline's later stages need."""
    match partner:
        case "identity":
            return {"legal_name": str(data.get("full_name", "")).title(), "check_id": reference}
        case "bank":
            return {"account_id": "acc-" + _digest(str(data.get("iban", "")))}
        case "esign":
            return {"document_id": "doc-" + _digest(reference)}
        case "cards":
            return {"card_id": "card-" + _digest(reference), "last_four": f"{int(_digest(reference), 16) % 10000:04}"}
    return {"echo": dict(data)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _forge(url: str) -> str:
    """The same URL with one character of the token's payload changed: well spelt, signed by nobody."""
    head, _, signature = url.rpartition(".")
    return f"{head[:-1]}{'A' if head[-1] != 'A' else 'B'}.{signature}"
