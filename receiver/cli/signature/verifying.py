"""Verify a captured request step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Final

from activities.environment import Environment
from activities.public_url import read_public_url, stated_public_url
from activities.signatures.diagnosis import Diagnosis, diagnose
from receiver.cli.errors import Exit
from receiver.cli.output import note, print_json, say
from receiver.cli.signature.captured import read_request, read_time
from receiver.cli.signature.setup import no_url, set_up
from receiver.cli.terminal import printable

MARKS: Final = {"ok": "ok   ", "wrong": "WRONG", "unknown": "?    "}

FETCH_SECONDS: Final = 15.0
"""Seconds to wait for a key that is published at a URL."""

ADVICE_BY_STEP: Final = {
    "header": "ask the partner which scheme and headers it sends, and look whether something on the way drops or "
    "changes them",
    "time": "for a captured request give --at TIME, when it arrived; for a new one set the clocks right",
    "key": "copy the secret from the partner's dashboard, and pass it on unchanged",
    "bytes": "verify the body as it arrived, before anything parses it; capture it byte by byte",
    "key or bytes": "compare the secret with the partner's dashboard first, then look how the body was captured",
}
"""The advice for each step that can fail."""

OPTIONS_ADVICE: Final = "set the scheme up with the options that are named above"
URL_ADVICE: Final = "; check --url too, it must be what the partner was given"


def verify_file(
    given: dict[str, Any],
    headers: Sequence[str],
    url: str,
    at: str | None,
    tolerance: int,
    file: str,
    *,
    as_json: bool,
) -> Exit:
    """Print whether the request is signed; FAILED if not.

    given: the options of the scheme. headers, at: as typed. tolerance: seconds. Raises `CommandError`.
    """
    setup = set_up(given, tolerance=tolerance)
    clock = None if at is None else read_time(at)
    captured = read_request(file, headers)
    request = captured.signed(url, _url_from_environment())
    if setup.scheme.needs_url and not request.url:
        raise no_url(setup.scheme.name)
    now = clock if clock is not None else captured.received_at if captured.received_at is not None else time.time()
    diagnosis = diagnose(setup.scheme, setup.secrets, request, now)
    if diagnosis.reason == "no-key":
        setup.scheme.prepare(wait=FETCH_SECONDS)
        diagnosis = diagnose(setup.scheme, setup.secrets, request, now)
    advice = _advice_on(diagnosis, needs_url=setup.scheme.needs_url)
    if captured.replaced and not diagnosis.verified and setup.scheme.covers_body:
        what = f"{printable(captured.replaced)} stands in this body where a token or a secret was"
        note(f"{what}: no signature of it can be right; verify the request as the partner sent it")
    if as_json:
        _print_json(diagnosis, setup.scheme.name, advice)
    else:
        _print_lines(diagnosis, advice)
    return Exit.OK if diagnosis.verified else Exit.FAILED


def _print_lines(diagnosis: Diagnosis, advice: str) -> None:
    say("verified" if diagnosis.verified else f"NOT verified: {diagnosis.failed}")
    for finding in diagnosis.findings:
        say(f"{MARKS[finding.state]} {finding.step:6} {printable(finding.says)}")
    if diagnosis.verified and diagnosis.verified.delivery_id:
        say(f"      id     {printable(diagnosis.verified.delivery_id)}")
    if advice:
        say(f"  try: {advice}")


def _print_json(diagnosis: Diagnosis, scheme: str, advice: str) -> None:
    verified = diagnosis.verified
    print_json(
        {
            "verified": verified is not None,
            "scheme": scheme,
            "failed": diagnosis.failed,
            "reason": diagnosis.reason,
            "steps": diagnosis.findings,
            "try": advice,
            "secret": verified.key_index + 1 if verified else None,
            "timestamp": verified.timestamp if verified else None,
            "delivery_id": verified.delivery_id if verified else None,
        }
    )


def _advice_on(diagnosis: Diagnosis, *, needs_url: bool) -> str:
    if diagnosis.suggests_options:
        return OPTIONS_ADVICE
    advice = ADVICE_BY_STEP.get(diagnosis.failed, "")
    return advice + URL_ADVICE if needs_url and "bytes" in diagnosis.failed else advice


def _url_from_environment() -> str:
    env = Environment(os.environ)
    if stated_public_url(env) is None:
        return ""
    address = read_public_url(env)
    env.check()
    return address.url
