"""Incoming: the body of a request, read only as far as it is needed."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from starlette.requests import ClientDisconnect, Request

from receiver.answers import Refused, Verdict
from receiver.deadlines import deadline
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES

LARGEST_BODY: Final = 1024 * 1024
BODY_SECONDS: Final = 5.0
"""Shorter than the server's grace after SIGTERM, so that a half-sent body gets its answer."""

LENGTH: Final = re.compile(r"[0-9]{1,18}")

SKIMMED: Final = 4 * LARGEST_BODY
SKIM_SECONDS: Final = 1.0
"""Limits, in bytes and seconds, of reading the body of a refused request for its record."""


class Incoming:
    """A body that is being received.

    size: bytes read so far. digest: SHA-256 of the whole body, once it was skimmed to its end; until then "".
    """

    def __init__(self, request: Request) -> None:
        self._headers = request.headers
        # `read` and `skim` share an iterator, so that `skim` continues where `read` stopped.
        self._stream = request.stream()
        self._broken = False
        self._kept = bytearray()
        self.size = 0
        self.digest = ""

    @property
    def announced(self) -> int:
        """The size that the head announces; without a length, the most bytes that may be kept of it."""
        length = self._headers.get("content-length", "" if "transfer-encoding" in self._headers else "0")
        return int(length) if LENGTH.fullmatch(length) else MAX_REFUSED_BODY_BYTES

    async def read(self) -> bytes:
        """Read the whole body. Raises `Refused` if it is too large, too slow or cut off."""
        try:
            async with deadline(BODY_SECONDS):
                async for chunk in self._stream:
                    self.size += len(chunk)
                    self._kept += chunk
                    if self.size > LARGEST_BODY:
                        raise Refused(Verdict.TOO_LARGE, f"send at most {LARGEST_BODY} bytes", body_read=False)
        except TimeoutError:
            self._broken = True
            raise Refused(Verdict.TOO_SLOW, body_read=False) from None
        except ClientDisconnect:
            self._broken = True
            raise Refused(Verdict.MALFORMED, "the body ended early", body_read=False) from None
        return bytes(self._kept)

    async def skim(self) -> bytes | None:
        """Read the rest of a refused request's body for its record. Returns the whole body if it may be kept.

        Returns None for a larger body, whose `digest` and `size` are then known, and for a body that is over `SKIMMED`
        bytes or does not end in time.
        """
        if self._broken or self.announced > SKIMMED:
            return None
        hashed = hashlib.sha256(self._kept)
        try:
            async with deadline(SKIM_SECONDS):
                async for chunk in self._stream:
                    hashed.update(chunk)
                    self.size += len(chunk)
                    if self.size <= LARGEST_BODY:
                        self._kept += chunk
                    if self.size > SKIMMED:
                        return None
        except (TimeoutError, ClientDisconnect):
            return None
        self.digest = hashed.hexdigest()
        return bytes(self._kept) if self.size <= LARGEST_BODY else None
