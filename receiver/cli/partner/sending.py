"""Answer a stage at its callback URL, as its partner."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import httpx

from activities.callback_urls import CALLBACKS_PATH, BadToken, CallbackURLs, ExpiredToken
from activities.environment import Environment
from activities.partners import PARTNERS
from activities.settings import read_callback_keys
from activities.signatures import ConfigError, Scheme
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import print_json, read_json_object, say
from receiver.cli.partner.settings import partner_from_environment
from receiver.cli.terminal import printable
from receiver.sandbox.roles import ROLES, role_of
from workflows.contract import Answer

SendableStatus = Literal["succeeded", "failed", "progress"]


async def send_callback(
    url: str, status: SendableStatus, data: str, body: str | None, times: int, *, to_sign: bool, as_json: bool
) -> Exit:
    """Send a callback `times` times and print the answers; FAILED unless every answer is a 2xx.

    data: the result, as typed. body: the whole body, as typed, instead of the partner's form. Raises `CommandError`.
    """
    name = _partner_of(url)
    if body is None and name in PARTNERS.keys() - {"sandbox", *ROLES}:
        raise CommandError(f"no form is known for callbacks of {name}", "give the whole body with --body", Exit.USAGE)
    work = f"hand-{uuid.uuid4().hex[:8]}"
    in_form = role_of(name).callback(work, Answer(status, data=read_json_object("--data", data)))
    content = json.dumps(in_form if body is None else read_json_object("--body", body)).encode()
    made = partner_from_environment(name, to_sign=to_sign)
    scheme = made.signature if made and to_sign else None
    media_type = made.media_types[0] if made else "application/json"
    answers = []
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for _ in range(times):
            proof = _sign(name, scheme, content, url, work) if scheme else []
            answers.append(await _post(http, url, content, [("Content-Type", media_type), *proof]))
    _print_answers(answers, as_json=as_json)
    return Exit.OK if all(200 <= answer["status"] < 300 for answer in answers) else Exit.FAILED


def _print_answers(answers: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            say(printable(f"{answer['status']} {answer['body']}"))


def _partner_of(url: str) -> str:
    """Return the partner that the URL was issued for, or "" if this environment's keys cannot read the token."""
    keys = read_callback_keys(environment := Environment(os.environ))
    if environment.faults:
        return ""
    try:
        return CallbackURLs("", keys).redeem(url.partition("?")[0].rpartition(CALLBACKS_PATH)[2]).partner
    except ExpiredToken as expired:
        return expired.claims.partner
    except BadToken:
        return ""


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
