"""Calls the functions of a partner's file and checks their results, so that no error of the file escapes.

`BrokenAnswer` is the only exception. Its message names the cause, and quotes neither the response nor an exception's
text: both may hold secrets, and line breaks that forge log lines.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import httpx

from activities.http import flaw_of
from activities.partners.answers import BrokenAnswer, checked, checked_reference, scrubbed
from activities.partners.partner import Partner, Unreadable
from activities.partners.paths import BadSegment
from activities.redaction.tokens import scrubbed_text
from workflows.contract import Answer, Receipt
from workflows.reading import kind
from workflows.stage_record import LONGEST_TEXT

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_SCRUBBED: Final = 4096
"""Characters that are searched for callback tokens; later characters are always cut off."""

UNPRINTABLE: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def built(build: Callable[P, httpx.Request], *args: P.args, **kwargs: P.kwargs) -> httpx.Request:
    """Build a request with a function of a partner's file; raises `BrokenAnswer`."""
    request = _guarded(build, *args, **kwargs)
    if not isinstance(request, httpx.Request):
        raise BrokenAnswer(f"its file returned {kind(request)}: return an httpx.Request")
    return request


def accepted(partner: Partner, response: httpx.Response) -> Receipt:
    """Read a 2xx response to a call. Never raises: the partner has the work, whatever the response looks like.

    Unusable parts are left out, and the receipt's note says why.
    """
    flaws = [flaw_of(response)]
    reference, answer = "", None
    try:
        receipt = _receipt(partner, response)
        try:
            reference = _recordable_reference(receipt)
        except BrokenAnswer as error:
            flaws.append(str(error))
        # Without the body, a reference may still come from a header, but an answer would be invented.
        answer = None if receipt.answer is None or flaws[0] else _recordable_answer(receipt.answer)
    except BrokenAnswer as error:
        flaws.append(str(error))
    why = flaws[0] or "; ".join(flaws[1:])
    took = f"partner {partner.name} took the call ({response.status_code}), but its answer cannot be used: "
    return Receipt(
        reference=reference,
        answer=answer,
        askable=partner.build_ask is not None and reference != "",
        note=one_line(took + why) if why else "",
    )


def status(read_status: Callable[[httpx.Response], Answer], response: httpx.Response) -> Answer:
    """Read a 2xx response to a question; raises `BrokenAnswer`."""
    if flaw := flaw_of(response):
        raise BrokenAnswer(flaw)
    return _recordable_answer(_guarded(read_status, response))


def one_line(text: str) -> str:
    """Clean text for a failure or note: bounded, UTF-8, without callback tokens, line breaks and control characters."""
    clean = scrubbed_text(text[:LONGEST_SCRUBBED].encode("utf-8", "replace").decode())
    return UNPRINTABLE.sub(" ", clean).strip()[:LONGEST_TEXT]


def _receipt(partner: Partner, response: httpx.Response) -> Receipt:
    receipt = _guarded(partner.read_receipt, response)
    if not isinstance(receipt, Receipt):
        raise BrokenAnswer(f"its file returned {kind(receipt)}: return a Receipt")
    return receipt


def _recordable_reference(receipt: Receipt) -> str:
    reference = _guarded(checked_reference, receipt.reference)
    if len(reference) > LONGEST_TEXT:
        # A truncated id would name other work, or no work.
        raise BrokenAnswer(f"Receipt.reference has {len(reference)} characters: at most {LONGEST_TEXT} are kept")
    if "\0" in reference:
        raise BrokenAnswer("Receipt.reference holds a NUL character, which PostgreSQL does not take")
    if scrubbed_text(reference) != reference:
        raise BrokenAnswer("Receipt.reference holds a callback token: return the partner's own id of the work")
    return reference


def _recordable_answer(value: Answer) -> Answer:
    return _guarded(scrubbed, _guarded(checked, value))


def _guarded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    except (BrokenAnswer, KeyboardInterrupt):
        raise
    except (Unreadable, BadSegment) as error:
        raise BrokenAnswer(one_line(str(error)) or "it is unreadable") from None
    except BaseException as error:  # SystemExit, or a panic of a library in Rust, would end the worker
        raise BrokenAnswer(f"its file raised {type(error).__name__}{_file_and_line(error)}") from None


def _file_and_line(error: BaseException) -> str:
    """The place in the partner's file: the frame that our function called."""
    frames = traceback.extract_tb(error.__traceback__)[1:2]
    return "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in frames)
