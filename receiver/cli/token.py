"""`stagehook token`."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime

import click

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs, Claims, ExpiredToken
from activities.client import connect
from activities.environment import Environment
from activities.runs import Runs
from activities.settings import read_callback_keys
from receiver.cli.output import json_option, print_json, read_argument, run_async, say
from receiver.cli.terminal import printable


@click.group()
def token() -> None:
    """Callback tokens."""


@token.command()
@click.argument("token_or_url", metavar="TOKEN_OR_URL|-")
@json_option
def inspect(token_or_url: str, *, as_json: bool) -> None:
    """Say what a callback token or URL was issued for. Needs CALLBACK_KEYS.

    The token can answer the stage: treat it as a password, and give - to pipe it in, for other users of the machine
    see a command's arguments in the list of processes.
    """
    token_or_url = read_argument(token_or_url, "token")
    env = Environment(os.environ)
    keys = read_callback_keys(env)
    env.check()
    try:
        claims = CallbackURLs("", keys).redeem(token_or_url.rpartition(CALLBACKS_PATH)[2])
    except ExpiredToken as expired:
        _show(expired.claims, as_json=as_json)
        raise
    _show(claims, as_json=as_json)


@token.command()
@click.argument("workflow_id", metavar="ID")
@click.argument("stage", type=int)
@json_option
@run_async
async def issue(workflow_id: str, stage: int, *, as_json: bool) -> None:
    """Print the callback URL of the run ID's open stage number STAGE. Needs PUBLIC_URL and CALLBACK_KEYS.

    For a partner that has lost the URL it was given, and for answering by hand with `stagehook partner send`.
    """
    env = Environment(os.environ)
    public_url = env.url("PUBLIC_URL", fix="the address at which partners reach the receiver")
    keys = read_callback_keys(env)
    env.check()
    claims = await Runs(await connect(os.environ)).open_claims(workflow_id, stage)
    url = CallbackURLs(public_url, keys).issue(claims)
    if as_json:
        print_json({"url": url})
    else:
        say(url)


def _show(claims: Claims, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(claims), "idempotency_key": claims.idempotency_key})
        return
    for name, value in asdict(claims).items():
        shown = datetime.fromtimestamp(value, UTC).isoformat() if name.endswith("_at") else value
        say(f"{name.replace('_', ' '):12} {printable(str(shown))}")
    say(f"{'call':12} {printable(claims.idempotency_key)} (idempotency key)")
