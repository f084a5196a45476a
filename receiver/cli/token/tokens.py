"""Read and issue callback tokens for operators."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs, Claims, ExpiredToken
from activities.client import connect
from activities.environment import Environment
from activities.public_url import read_public_url
from activities.runs import Runs
from activities.settings import read_callback_keys
from receiver.cli.output import print_json, say
from receiver.cli.terminal import printable


def inspect_token(token_or_url: str, *, as_json: bool) -> None:
    """Print what the token was issued for; raises `BadToken`, or, after printing, `ExpiredToken`."""
    env = Environment(os.environ)
    keys = read_callback_keys(env)
    env.check()
    try:
        claims = CallbackURLs("", keys).redeem(token_or_url.rpartition(CALLBACKS_PATH)[2])
    except ExpiredToken as expired:
        _show(expired.claims, as_json=as_json)
        raise
    _show(claims, as_json=as_json)


async def issue_url(workflow_id: str, stage: int, *, as_json: bool) -> None:
    """Print the callback URL of an open stage; raises `SettingsError`, `RunNotFound`, `NoSuchStage`."""
    env = Environment(os.environ)
    public_url = read_public_url(env).url
    keys = read_callback_keys(env)
    env.check()
    call = await Runs(await connect(os.environ)).open_call(workflow_id, stage)
    url = CallbackURLs(public_url, keys).of(call)
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
