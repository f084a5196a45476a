"""Documents that a scheme needs and does not hold: a provider's key set, or the certificate that it signs with.

A document is fetched in a thread of its own and kept. No request waits for it: while there is none, a request can
neither be proven nor refused, and is answered 503.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

import httpx

from activities.environment import is_loopback
from activities.signatures.scheme import ConfigError

logger = logging.getLogger("stagehook.signatures")

REFRESH_AGE: Final = 3600.0
"""Age from which a document is fetched again, while it goes on being used."""

LONGEST_KEPT: Final = 24 * 3600.0
"""Age in seconds from which a document is not used any more. It is this old only if it cannot be fetched."""

FETCH_PAUSE: Final = 60.0
"""Seconds between two fetches, however many requests ask for one."""

RETRY_PAUSE: Final = 5.0
"""Seconds between two fetches while there is no document."""

FETCH_TIMEOUT: Final = 10.0
"""Seconds for a whole fetch."""

MOST_BYTES: Final = 256 * 1024

Document = TypeVar("Document")


@dataclass(frozen=True)
class Copy(Generic[Document]):
    """A document that was fetched. began: when the fetch began, on the clock of `Fetched`."""

    document: Document
    began: float


class Fetched(Generic[Document]):
    """A document at a URL.

    read: makes the document from its bytes; raises `ConfigError` if it cannot be used. clock: seconds, monotonic.
    Raises `ConfigError` for a URL that is not https. Every method returns at once, except `wait`.
    """

    def __init__(
        self, url: str, read: Callable[[bytes], Document], clock: Callable[[], float] = time.monotonic
    ) -> None:
        check_url(url)
        self._url = url
        self._read = read
        self._clock = clock
        self._copy: Copy[Document] | None = None
        self._asked_at = float("-inf")
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def get(self) -> Copy[Document] | None:
        """Return the latest copy, or None; ask for a new one if it is old."""
        copy, now = self._copy, self._clock()
        if copy is None or now - copy.began >= REFRESH_AGE:
            self.ask()
        return copy if copy is not None and now - copy.began < LONGEST_KEPT else None

    def ask(self) -> None:
        """Begin a fetch, unless one is running or the last one was a moment ago."""
        with self._lock:
            pause = RETRY_PAUSE if self._copy is None else FETCH_PAUSE
            if self.is_fetching or self._clock() - self._asked_at < pause:
                return
            self._asked_at = self._clock()
            self._thread = threading.Thread(target=self._fetch, name="fetch", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for the fetch that is running, at most so long."""
        if (thread := self._thread) is not None:
            thread.join(seconds)

    @property
    def is_there(self) -> bool:
        """Whether there is a copy."""
        return self._copy is not None

    @property
    def is_fetching(self) -> bool:
        """Whether a fetch is running."""
        return self._thread is not None and self._thread.is_alive()

    def _fetch(self) -> None:
        began = self._clock()
        try:
            self._copy = Copy(self._read(asyncio.run(download(self._url))), began)
        except (ConfigError, httpx.HTTPError, TimeoutError, OSError) as error:
            # What httpx says may quote the URL, whose query may be secret.
            why = str(error) if isinstance(error, ConfigError) else type(error).__name__
            logger.warning("key-not-fetched", extra={"host": urlsplit(self._url).hostname, "why": why})
        except Exception:
            logger.exception("key-not-fetched", extra={"host": urlsplit(self._url).hostname})


def check_url(url: str) -> None:
    """Raise `ConfigError` unless the URL is https, or http on this machine, and names nothing but a document."""
    try:
        parts = urlsplit(url)
        is_plain = bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment and parts.port != 0
    except ValueError:
        is_plain = False
    if not is_plain or not url.isascii() or not url.isprintable() or any(char in url for char in " \\"):
        raise ConfigError("the URL of a key set is not a plain URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url)):
        raise ConfigError("the URL of a key set is not https")


async def download(url: str) -> bytes:
    """Return the body of a 200 answer, bounded in time and size. Raises `ConfigError`, or an error of httpx."""
    async with (
        asyncio.timeout(FETCH_TIMEOUT),
        # Keys must come from this very URL: a redirect could lead anywhere.
        httpx.AsyncClient(follow_redirects=False, trust_env=False) as http,
        http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise ConfigError(f"answered {response.status_code}, not 200")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MOST_BYTES:
                raise ConfigError(f"the document has more than {MOST_BYTES} bytes")
        return bytes(body)
