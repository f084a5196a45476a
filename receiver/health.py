"""The probes. /healthz: the process answers. /readyz: a callback could be answered 2xx now."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.sending.forwarder import Forwarder, Unavailable
from receiver.timing import DEFAULT_TIMING, Timing


class Health:
    """The two probes."""

    def __init__(self, forwarder: Forwarder, timing: Timing = DEFAULT_TIMING) -> None:
        self._forwarder = forwarder
        self._lasts = timing.finding_lasts
        self._finding = self._away = ""
        self._found_at = float("-inf")
        self._asking = asyncio.Lock()

    async def healthz(self, request: Request) -> Response:
        """200 while the process answers."""
        return JSONResponse({"alive": True})

    async def readyz(self, request: Request) -> Response:
        """200 if the store or Temporal would take a callback now, else 503 with the reason.

        If the store is away and Temporal takes callbacks in its place, the 200 says so. If Temporal is away, `temporal`
        is the word for the cause, also in the 200 of a store that keeps callbacks meanwhile.
        """
        why = await self.find_out()
        temporal = {"temporal": self._forwarder.outage} if self._forwarder.outage else {}
        if why:
            return JSONResponse({"ready": False, "why": why, **temporal}, 503)
        return JSONResponse({"ready": True, **({"why": self._away} if self._away else {}), **temporal})

    async def find_out(self) -> str:
        """Why callbacks cannot be taken, or "" if they can. Reused for a while; checked once at a time."""
        async with self._asking:
            if time.monotonic() - self._found_at > self._lasts:
                try:
                    self._away = await self._forwarder.check()
                    self._finding = ""
                except Unavailable as error:
                    self._finding = str(error)
                self._found_at = time.monotonic()
            return self._finding
