"""Explain a scheme: what it reads, what it signs, and what it does not prove."""

from __future__ import annotations

from typing import Any, Final

from activities.signatures import Scheme
from receiver.cli.output import print_json, say
from receiver.cli.signature.setup import set_up
from receiver.cli.terminal import printable

NOT_PROVEN: Final = {
    "body": "the body: anyone who has seen a signature can send any body with it, so kinds two and three refuse it",
    "time": "the time: a captured request stays valid, so make sure that its effect cannot happen twice",
    "URL": "the URL: a request can be sent again to another URL of ours",
}
"""What follows from each part of a request that is not signed."""

ONLY_KNOWN: Final = "only that the sender knows the secret"


def explain_scheme(given: dict[str, Any], tolerance: int, *, as_json: bool) -> None:
    """Print what the scheme does with these options. Raises `CommandError`."""
    scheme = set_up(given, tolerance=tolerance).scheme
    proves = {"body": scheme.covers_body, "time": scheme.covers_time, "URL": scheme.covers_url}
    if as_json:
        says = dict(scheme.explanation())
        print_json({**says, "tolerance": tolerance, "proves": [name for name, proven in proves.items() if proven]})
        return
    for word, text in _lines(scheme, proves):
        say(f"{word:10} {printable(text)}")


def _lines(scheme: Scheme, proves: dict[str, bool]) -> list[tuple[str, str]]:
    lines = scheme.explanation()
    if scheme.covers_time:
        lines.append(("clock", f"at most {scheme.tolerance} s from the time"))
    says = {**NOT_PROVEN, "body": scheme.body_limits} if scheme.covers_event else NOT_PROVEN
    proven = [*([scheme.event_proof] if scheme.covers_event else []), *(name for name in proves if proves[name])]
    lines.append(("proves", ", ".join(proven) or ONLY_KNOWN))
    return [*lines, *(("not proven", says[name]) for name in proves if not proves[name])]
