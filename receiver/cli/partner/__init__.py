"""`stagehook partner`: stand in for a partner, add one, or tell one to stop or undo work."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final, Literal

import click
import httpx
import uvicorn

from activities.callback_urls import CALLBACKS_PATH, BadToken, CallbackURLs, ExpiredToken
from activities.environment import Environment
from activities.partners import PARTNERS, load_partners
from activities.partners.partner import Partner
from activities.settings import read_callback_keys
from activities.signatures import ConfigError, Scheme
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import (
    NumberRange,
    json_option,
    note,
    print_json,
    read_argument,
    read_json_object,
    run_async,
    say,
)
from receiver.cli.partner.new import new
from receiver.cli.partner.tell import stop, undo
from receiver.cli.terminal import printable
from receiver.lifecycle import check_port, stop_quietly
from receiver.logs import LOG_CONFIG
from receiver.sandbox.app import PLAYS, SandboxPartner
from receiver.sandbox.roles import ROLES, role_of
from workflows.contract import Answer

DEFAULT_PORT: Final = 8090


@click.group()
def partner() -> None:
    """Stand in for a partner, add one, or tell one to stop or undo work."""


for command in (new, stop, undo):
    partner.add_command(command)


@partner.command()
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--plays", multiple=True, metavar="PARTNER=PLAY[,PLAY]", help="What it plays, attempt by attempt.")
@click.option("--delay", type=NumberRange(0, 3600), help="Seconds to a callback, for every play.")
@click.option("--seed", default=0, show_default=True, help="Decides what the play `mixed` picks.")
@run_async
async def serve(port: int, plays: tuple[str, ...], delay: float | None, seed: int) -> None:
    """Run the sandbox partner on loopback: it takes calls and answers them by callback.

    It plays the sample partners too, each in its own form, and signs with the secrets of this environment.

    Plays: at-once, later (the default), twice, early (before the call returns), never, failing, lost (no callback, but
    known to who asks), slow, busy (503 twice), refusing (422), forged (a wrong token first), missigned (a wrong body
    signature first, by a partner that signs), mixed.

    A call whose data holds the text `play:NAME` is played so, whatever its partner's script says.
    """
    script = _read_plays(plays)
    check_port("127.0.0.1", port)
    schemes = {name: made.signature for name in ROLES if (made := _set_up(name)) and made.signature}
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        sandbox = SandboxPartner(http, script, schemes=schemes, seed=seed, delay=delay)
        config = uvicorn.Config(
            sandbox.app,
            host="127.0.0.1",
            port=port,
            log_config=LOG_CONFIG,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        stop_quietly()
        await uvicorn.Server(config).serve()
        await sandbox.aclose()


@partner.command()
@click.argument("url", metavar="URL|-")
@click.option("--status", default="succeeded", type=click.Choice(["succeeded", "failed", "progress"]))
@click.option("--data", default="{}", help="The result, a JSON object.")
@click.option("--body", metavar="JSON|@FILE|-", help="The whole body, in place of the partner's form with --data.")
@click.option("--times", default=1, show_default=True, type=click.IntRange(1, 1000), help="Send it so many times.")
@click.option("--no-sign", is_flag=True, help="Leave out the body signature.")
@json_option
@run_async
async def send(
    url: str,
    status: Literal["succeeded", "failed", "progress"],
    data: str,
    body: str | None,
    times: int,
    *,
    no_sign: bool,
    as_json: bool,
) -> int:
    """Answer a stage at its callback URL, in its partner's place or with a body of any JSON form.

    With CALLBACK_KEYS the URL tells which partner it is for: the body takes that partner's form and media type, and is
    signed with its scheme and the secret of this environment; a thin callback has no place for --data. Otherwise it
    takes the sandbox partner's own form, unsigned.

    `stagehook token issue` prints the URL of an open stage. Pipe it in, and give - here: other users of this machine
    see the arguments of a command in the list of processes. Exits 1 unless every answer is a 2xx.
    """
    if url == "-" and "-" in (data, body):
        raise click.UsageError("stdin cannot hold both the URL and the body: give one of them in another way")
    url = read_argument(url, "callback URL")
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("give the whole callback URL, with http:// or https://")
    name = _partner_of(url)
    if body is None and name in PARTNERS.keys() - {"sandbox", *ROLES}:
        raise CommandError(f"no form is known for callbacks of {name}", "give the whole body with --body", Exit.USAGE)
    work = f"hand-{uuid.uuid4().hex[:8]}"
    in_form = role_of(name).callback(work, Answer(status, data=read_json_object("--data", data)))
    content = json.dumps(in_form if body is None else read_json_object("--body", body)).encode()
    made = _set_up(name, to_sign=not no_sign)
    scheme = None if no_sign or made is None else made.signature
    media_type = made.content_type if made else "application/json"
    answers = []
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for _ in range(times):
            proof = _sign(name, scheme, content, url, work) if scheme else []
            answers.append(await _post(http, url, content, [("Content-Type", media_type), *proof]))
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            say(printable(f"{answer['status']} {answer['body']}"))
    return Exit.OK if all(200 <= answer["status"] < 300 for answer in answers) else Exit.FAILED


def _partner_of(url: str) -> str:
    """The partner that the URL was issued for, or "" where this environment's keys cannot read it."""
    keys = read_callback_keys(environment := Environment(os.environ))
    if environment.faults:
        return ""
    try:
        return CallbackURLs("", keys).redeem(url.partition("?")[0].rpartition(CALLBACKS_PATH)[2]).partner
    except ExpiredToken as expired:
        return expired.claims.partner
    except BadToken:
        return ""


def _set_up(name: str, *, to_sign: bool = True) -> Partner | None:
    """The partner by this environment; None for one that is not known. to_sign: say why it will not be, if so."""
    if name not in PARTNERS:
        return None
    made = load_partners([name], environment := Environment(os.environ)).get(name)
    for fault in environment.faults if to_sign and (made is None or made.signature is None) else ():
        note(f"{name}'s callbacks are not signed: {fault}")
    return made


def _sign(name: str, scheme: Scheme, body: bytes, url: str, delivery_id: str) -> list[tuple[str, str]]:
    try:
        return scheme.sign(body, url=url, now=time.time(), delivery_id=delivery_id)
    except ConfigError as error:
        advice = "give its file the private key, as docs/partners.md says, or leave the signature out with --no-sign"
        raise CommandError(f"a callback of {name} cannot be signed: {error}", advice) from error


async def _post(http: httpx.AsyncClient, url: str, body: bytes, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    try:
        response = await http.post(url, content=body, headers=headers)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        what = f"nothing answers at that address ({type(error).__name__})"
        raise CommandError(what, "start the receiver with `stagehook serve`, and check host and port") from error
    return {"status": response.status_code, "body": response.text[:1000]}


def _read_plays(plays: tuple[str, ...]) -> dict[str, list[str]]:
    script: dict[str, list[str]] = {}
    for text in plays:
        name, _, listed = text.partition("=")
        script[name] = listed.split(",")
        for play in script[name]:
            if play not in {*PLAYS, "mixed"}:
                what = f"{play!r} is none of {', '.join(PLAYS)}, mixed"
                raise click.BadParameter(f"--plays {text}: {what}; repeat --plays for another partner")
    return script
