"""`stagehook signature`: say why a body signature does not match, or make one."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any, Final

import click

from activities.environment import Environment
from activities.signatures import ConfigError, Scheme, SignatureError, SignedRequest
from activities.signatures.diagnosis import Diagnosis, diagnose
from activities.signatures.scheme import DEFAULT_TOLERANCE
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import json_option, note, print_json, say
from receiver.cli.signature.captured import read_bytes, read_request, read_time
from receiver.cli.signature.options import read_private_key, scheme_options, set_up
from receiver.cli.terminal import printable

MARKS: Final = {"ok": "ok   ", "wrong": "WRONG", "unknown": "?    "}

ADVICE: Final = {
    "header": "ask the partner which scheme and headers it sends, and look whether something on the way drops or "
    "changes them",
    "time": "for a captured request give --at TIME, when it arrived; for a new one set the clocks right",
    "key": "copy the secret from the partner's dashboard, and pass it on as it stands there",
    "bytes": "verify the body as it arrived, before anything parses it; capture it byte by byte",
    "key or bytes": "compare the secret with the partner's dashboard first, then look how the body was captured",
}
"""What to do, by the step that failed."""

URL_ADVICE: Final = "; check --url too, it must be what the partner was given"

file_argument = click.argument("file", default="-")
url_option = click.option("--url", default="", help="The public URL that the partner was given.")
at_option = click.option("--at", metavar="TIME", help="The clock: unix seconds, or a date and time. [default: now]")


@click.group()
def signature() -> None:
    """Body signatures of partners: verify or make one."""


@signature.command()
@scheme_options
@click.option("--header", "headers", multiple=True, metavar="'Name: value'|@FILE", help="FILE is just a body; repeat.")
@url_option
@at_option
@click.option(
    "--tolerance", default=DEFAULT_TOLERANCE, show_default=True, type=click.IntRange(0), help="Seconds off the clock."
)
@file_argument
@json_option
def verify(
    headers: tuple[str, ...], url: str, at: str | None, tolerance: int, file: str, *, as_json: bool, **given: Any
) -> int:
    """Say whether the request in FILE is signed, and if not, at which step it fails: header, time, key or bytes.

    FILE (stdin if left out) is a raw HTTP request, a recorded delivery as JSON (which keeps no Authorization header),
    or, with --header, a body. The clock is --at, else the time that a recorded delivery was received at, else now. The
    URL, which some schemes sign, is --url, else PUBLIC_URL and the request's target.

    Exits 1 if the request is not verified. Prints no secret, and no signature that would be right.
    """
    setup = set_up(given, tolerance=tolerance)
    clock = None if at is None else read_time(at)
    captured = read_request(file, headers)
    request = captured.signed(url, _public_url())
    if setup.scheme.covers_url and not request.url:
        raise _no_url(setup.scheme.name)
    now = clock if clock is not None else captured.received_at if captured.received_at is not None else time.time()
    diagnosis = diagnose(setup.scheme, setup.secrets, request, now)
    advice = _advice(diagnosis, covers_url=setup.scheme.covers_url)
    if captured.replaced and not diagnosis.verified and setup.scheme.covers_body:
        what = f"{printable(captured.replaced)} stands in this body where a token or a secret was"
        note(f"{what}: no signature of it can be right; verify the request as the partner sent it")
    if as_json:
        _print_json(diagnosis, setup.scheme.name, advice)
    else:
        _print_lines(diagnosis, advice)
    return Exit.OK if diagnosis.verified else Exit.FAILED


@signature.command()
@scheme_options
@click.option("--private-key-env", metavar="VAR", help="sendgrid, discord: the private key, from a variable.")
@click.option("--private-key-file", metavar="FILE", help="sendgrid, discord: the private key, from a file.")
@url_option
@at_option
@click.option("--id", "delivery_id", help="The delivery's id, for schemes that sign one. [default: a new one]")
@file_argument
@json_option
def sign(
    private_key_env: str | None,
    private_key_file: str | None,
    url: str,
    at: str | None,
    delivery_id: str | None,
    file: str,
    *,
    as_json: bool,
    **given: Any,
) -> None:
    """Print the headers that sign the body in FILE (stdin if left out), a line each, as curl takes them.

    \b
    stagehook signature sign --scheme github --secret-env SECRET body.json |
      curl --header @- --header 'Content-Type: application/json' \\
        --data-binary @body.json URL
    """
    setup = set_up(given, private_key=read_private_key(private_key_env, private_key_file))
    now = time.time() if at is None else read_time(at)
    if setup.scheme.covers_url and not url:
        raise _no_url(setup.scheme.name)
    headers = _signed(setup.scheme, read_bytes(file), url, now, delivery_id)
    if as_json:
        print_json(headers)
        return
    for name, value in headers:
        say(f"{name}: {value}")


def _how_to_sign(scheme: Scheme) -> str:
    if scheme.covers_url:
        return "give --url; of twilio's, one with ?bodySHA256= and the body's SHA-256, unless the body is a form"
    if scheme.name in {"standard-webhooks", "svix"}:
        return "change --id, or give the whsk_ secret in place of a whpk_ one"
    return "give --private-key-env VAR or --private-key-file FILE as well"


def _signed(scheme: Scheme, body: bytes, url: str, now: float, delivery_id: str | None) -> list[tuple[str, str]]:
    new_id = f"msg_{uuid.uuid4().hex}" if delivery_id is None else delivery_id
    try:
        headers = scheme.sign(body, url=url, now=now, delivery_id=new_id)
        scheme.verify(SignedRequest("POST", url, headers, body), now)
    except ConfigError as error:
        raise CommandError(str(error), _how_to_sign(scheme), Exit.USAGE) from error
    except SignatureError as error:
        raise _unsignable(error) from error
    return headers


def _unsignable(error: SignatureError) -> CommandError:
    if error.reason == "mismatch":
        # Keys that are not a pair: what the one signs, the other does not verify.
        what = "the private key does not belong to the public key that is given as the secret"
        return CommandError(what, "give the two halves of one pair", Exit.USAGE)
    return CommandError(f"this cannot be signed: {error}", "change the body, --url or --id", Exit.USAGE)


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


def _advice(diagnosis: Diagnosis, *, covers_url: bool) -> str:
    advice = ADVICE.get(diagnosis.failed, "")
    return advice + URL_ADVICE if covers_url and "bytes" in diagnosis.failed else advice


def _public_url() -> str:
    if not os.environ.get("PUBLIC_URL", "").strip():
        return ""
    env = Environment(os.environ)
    url = env.url("PUBLIC_URL", fix="the address at which partners reach the receiver, or nothing")
    env.check()
    return url


def _no_url(scheme: str) -> CommandError:
    return CommandError(
        f"{scheme} signs the URL, and it is not known",
        "give --url, the very URL that the partner was given",
        Exit.USAGE,
    )
