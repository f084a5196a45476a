"""Reading: has the partner's file read a request, within limits, and turns its errors into answers.

`Unreadable` is the partner's fault (422). Every other error, and a file that takes too long, is ours (503).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, TypeVar

from activities.partners import answers
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.received import Part, Received, Unreadable
from receiver.answers import Refused, Verdict

T = TypeVar("T")

logger = logging.getLogger("stagehook.callbacks")

MAX_PARTS: Final = 1_000
FILE_SECONDS: Final = 1.5
"""Seconds for a partner's file to read a request: partners hang up after 3 s."""

THREAD_FROM: Final = 64 * 1024
"""Bytes of a body from which it is read in a thread, so that it does not hold up other requests."""

MAX_THREADS: Final = 8
THREAD_PAUSE: Final = 0.01
"""Seconds between two looks for a free thread."""

_THREADS: Final = threading.BoundedSemaphore(MAX_THREADS)
"""A thread gives its place back when the file's function has returned, however late."""


@dataclass(frozen=True)
class Read:
    """A part of a request as it was read. event: None if it is not ours. flaw: why the file could not read it, or None.

    number: its place in the request, from 1.
    """

    number: int
    part: Part
    event: Event | None = None
    flaw: Refused | None = None


async def read_whole(partner: Partner, received: Received) -> Event | None:
    """Read a request that carries one event; None if it is not ours. Raises `Refused`."""
    return await bounded(partner, received, lambda: _read(partner, received))


async def read_parts(partner: Partner, received: Received) -> list[Read]:
    """Read a request that carries several events. Raises `Refused` if it cannot be split."""
    return await bounded(partner, received, lambda: _read_parts(partner, received))


def _split(partner: Partner, received: Received) -> Sequence[Part]:
    """Split a request into its parts. Raises `Refused`, also for more than `MAX_PARTS`."""
    try:
        parts = answers.split(partner, received)
    except Unreadable as error:
        raise Refused(Verdict.UNREADABLE, answers.words_of(error)) from error
    except answers.BrokenAnswer as error:
        raise broken(partner, error) from error
    if len(parts) > MAX_PARTS:
        raise Refused(Verdict.TOO_LARGE, f"send at most {MAX_PARTS} events")
    return parts


def broken(partner: Partner, error: answers.BrokenAnswer, *, logged: bool = False) -> Refused:
    """The refusal for a mistake of the partner's file, which is logged. logged: whether the log has it already."""
    if not logged:
        what = {"partner": partner.name, "why": str(error)}
        logger.error("partner-file-broken", extra=what, exc_info=error.__cause__)
    return Refused(Verdict.BROKEN, str(error))


async def bounded(partner: Partner, received: Received, read: Callable[[], T]) -> T:
    """Run a function of the partner's file within `FILE_SECONDS`. Raises `Refused`."""
    began = time.monotonic()
    try:
        if len(received.body) < THREAD_FROM:
            found = read()
        else:
            async with asyncio.timeout(FILE_SECONDS):
                found = await _in_thread(read)
    except TimeoutError:
        raise _too_slow(partner) from None
    if time.monotonic() - began > FILE_SECONDS:
        raise _too_slow(partner)
    return found


async def _in_thread(read: Callable[[], T]) -> T:
    """Run a file's function in a thread of its own.

    Not in asyncio's pool: the process would not end before a function that hangs, other work of the pool would wait for
    it too, and the pool would keep the bodies of requests that have given up waiting.
    """
    while not _THREADS.acquire(blocking=False):  # noqa: ASYNC110 - a thread releases it
        await asyncio.sleep(THREAD_PAUSE)
    future: Future[T] = Future()
    try:
        threading.Thread(target=_run, args=(read, future), name="reading", daemon=True).start()
    except RuntimeError:  # the machine has no thread left
        _THREADS.release()
        raise
    return await asyncio.wrap_future(future)


def _run(read: Callable[[], T], future: Future[T]) -> None:
    try:
        if future.set_running_or_notify_cancel():
            future.set_result(read())
    except BaseException as error:
        future.set_exception(error)
    finally:
        _THREADS.release()


def _too_slow(partner: Partner) -> Refused:
    return broken(partner, answers.BrokenAnswer(f"its file took more than {FILE_SECONDS:g} s to read a request"))


def _read(partner: Partner, received: Received, *, logged: bool = False) -> Event | None:
    try:
        return answers.read_event(partner, received)
    except Unreadable as error:
        raise Refused(Verdict.UNREADABLE, answers.words_of(error)) from error
    except answers.BrokenAnswer as error:
        raise broken(partner, error, logged=logged) from error


def _read_parts(partner: Partner, received: Received) -> list[Read]:
    """Read each part. Only the first mistake of the file is logged: a thousand parts may have the same one."""
    found: list[Read] = []
    logged = False
    for number, part in enumerate(_split(partner, received), start=1):
        try:
            found.append(Read(number, part, event=_read(partner, part, logged=logged)))
        except Refused as flaw:
            logged = logged or flaw.verdict is Verdict.BROKEN
            found.append(Read(number, part, flaw=flaw))
    return found
