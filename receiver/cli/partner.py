"""`stagehook partner`: stand in for a partner."""

from __future__ import annotations

import math
import uuid
from typing import Any, Final

import click
import httpx
import uvicorn

from activities.partners.sandbox_app import PLAYS, SandboxPartner
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import json_option, print_json, read_json_object, run_async
from receiver.lifecycle import check_port, stop_quietly
from receiver.logs import LOG_CONFIG

DEFAULT_PORT: Final = 8090


@click.group()
def partner() -> None:
    """Stand in for a partner."""


@partner.command()
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--plays", multiple=True, metavar="PARTNER=PLAY[,PLAY]", help="What it plays, attempt by attempt.")
@click.option("--delay", type=click.FloatRange(0, 3600), help="Seconds to a callback, for every play.")
@click.option("--seed", default=0, show_default=True, help="Decides what the play `mixed` picks.")
@run_async
async def serve(port: int, plays: tuple[str, ...], delay: float | None, seed: int) -> None:
    """Run the sandbox partner on loopback: it takes calls and answers them by callback.

    \b
    Plays: at-once, later (the default), twice, early (before the call returns), never, failing,
    slow, busy (503 twice), refusing (422), forged (a wrong token first), mixed.

    A call whose data holds the text `play:NAME` is played so, whatever its partner's script says.
    """
    check_port("127.0.0.1", port)
    if delay is not None and not math.isfinite(delay):
        raise click.BadParameter("--delay is not a number of seconds")
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        sandbox = SandboxPartner(http, _read_plays(plays), seed=seed, delay=delay)
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
@click.argument("url")
@click.option("--status", default="succeeded", type=click.Choice(["succeeded", "failed", "progress"]))
@click.option("--data", default="{}", help="The result, a JSON object.")
@click.option("--body", metavar="JSON|@FILE|-", help="The whole body, in place of the sandbox partner's own form.")
@click.option("--times", default=1, show_default=True, type=click.IntRange(1, 1000), help="Send it so many times.")
@json_option
@run_async
async def send(url: str, status: str, data: str, body: str | None, times: int, *, as_json: bool) -> int:
    """Answer a stage at its callback URL, as the sandbox partner would or with a body of any JSON form.

    `stagehook token issue` prints the URL of an open stage. Exits 1 unless every answer is a 2xx.
    """
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("give the whole callback URL, with http:// or https://")
    own_form = {"id": f"hand-{uuid.uuid4().hex[:8]}", "status": status, "data": read_json_object("--data", data)}
    content = own_form if body is None else read_json_object("--body", body)
    answers = []
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for _ in range(times):
            answers.append(await _post(http, url, content))
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            click.echo(f"{answer['status']} {answer['body']}")
    return Exit.OK if all(200 <= answer["status"] < 300 for answer in answers) else Exit.FAILED


async def _post(http: httpx.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        response = await http.post(url, json=body)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        what = f"nobody answers at that address ({type(error).__name__})"
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
