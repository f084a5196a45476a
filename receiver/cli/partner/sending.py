"""Answer a stage as its partner, at its callback URL or at the partner's one webhook URL."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from activities.callback_urls import CALLBACKS_PATH, PARTNERS_PATH, BadToken, CallbackURLs, Claims, ExpiredToken
from activities.client import connect
from activities.environment import Environment
from activities.partners import PARTNERS
from activities.partners.answers import words_of
from activities.partners.partner import Partner
from activities.runs import Runs
from activities.settings import read_callback_keys
from activities.signatures import ConfigError, Scheme, SignedRequest
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import print_json, read_content, read_json_object, say
from receiver.cli.partner.settings import partner_from_environment
from receiver.cli.terminal import printable
from receiver.sandbox.roles import ROLES, role_of
from workflows.contract import Answer

SendableStatus = Literal["succeeded", "failed", "progress"]


@dataclass(frozen=True)
class Sending:
    """What is sent, as the command line says it.

    data: the result. body: the whole body, instead of the partner's form, or None. content_type: instead of the
    partner's, or "". reference: the partner's id of the work, or "" to look it up.
    """

    status: SendableStatus
    data: str
    body: str | None = None
    content_type: str = ""
    reference: str = ""


async def send_callback(url: str, what: Sending, times: int, *, to_sign: bool, as_json: bool) -> Exit:
    """Send a callback `times` times and print the answers; FAILED unless every answer is a 2xx.

    url: a callback URL, or a partner's one webhook URL. Raises `CommandError`.
    """
    name, claims = _addressee(url)
    made = partner_from_environment(name, to_sign=to_sign)
    work = f"hand-{uuid.uuid4().hex[:8]}"
    content = await _content(name, made, url, claims, what, work)
    if claims and made and made.has_one_url:
        url = url[: url.index(CALLBACKS_PATH)] + PARTNERS_PATH + name
    scheme = made.signature if made and to_sign else None
    media_type = what.content_type or (made.media_types[0] if made else "application/json")
    typed = [("Content-Type", media_type)] if media_type else []
    answers = []
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for _ in range(times):
            unsigned = SignedRequest("POST", url, typed, content)
            answers.append(await _post(http, _sign(name, scheme, unsigned, work) if scheme else unsigned))
    _print_answers(answers, as_json=as_json)
    return Exit.OK if all(200 <= answer["status"] < 300 for answer in answers) else Exit.FAILED


async def _content(name: str, made: Partner | None, url: str, claims: Claims | None, what: Sending, work: str) -> bytes:
    """Return the body: as it was given, or in the partner's form."""
    if what.body is not None:
        return read_content("--body", what.body)
    answer = Answer(what.status, data=read_json_object("--data", what.data))
    if (made is None or made.sample_event is None) and name in PARTNERS.keys() - {"sandbox", *ROLES}:
        raise CommandError(f"no form is known for callbacks of {name}", "give the whole body with --body", Exit.USAGE)
    if made and made.stage_by == "token":
        named_by = _callback_url(name, url, claims)
    elif made and made.stage_by == "reference":
        named_by = what.reference or await _reference(name, claims)
    else:
        named_by = work
    if made is None or made.sample_event is None:
        return json.dumps(role_of(name).callback(named_by, answer)).encode()
    return _sample(made, made.sample_event, answer, named_by)


def _sample(partner: Partner, make: Callable[[Answer, str], bytes], answer: Answer, named_by: str) -> bytes:
    advice = "mend it in the partner's file, or give the whole body with --body"
    try:
        body = make(answer, named_by)
    except Exception as error:  # any error of a partner's file
        what = f"sample_event of {partner.name} raised {type(error).__name__}: {words_of(error)}"
        raise CommandError(what, advice) from error
    if not isinstance(body, bytes):
        raise CommandError(f"sample_event of {partner.name} returned {type(body).__name__}, not bytes", advice)
    return body


def _callback_url(name: str, url: str, claims: Claims | None) -> str:
    if claims is None:
        what = f"a callback of {name} holds the callback URL of a stage, and this URL is for all stages"
        raise CommandError(what, "give the URL that `stagehook token issue RUN STAGE` prints", Exit.USAGE)
    return url


async def _reference(name: str, claims: Claims | None) -> str:
    """Return the partner's id of the work of the stage's latest call; raises `CommandError` if it is unknown."""
    if claims is None:
        what = f"a callback of {name} holds its id of the work, and this URL is for all its work"
        advice = "give --reference, or the URL that `stagehook token issue RUN STAGE` prints"
        raise CommandError(what, advice, Exit.USAGE)
    _, known = await Runs(await connect(os.environ)).latest_call(claims.workflow_id, claims.stage)
    if not known.reference:
        what = f"stage {claims.stage} of {claims.workflow_id} has no reference of {name}'s"
        raise CommandError(f"{what}: the call has not returned, or brought none", "give --reference")
    return known.reference


def _print_answers(answers: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            say(printable(f"{answer['status']} {answer['body']}"))


def _addressee(url: str) -> tuple[str, Claims | None]:
    """Return the partner that the URL is for, and the claims of a callback URL.

    The partner is "" if this environment's keys cannot read the token.
    """
    path = urlsplit(url).path
    if path.startswith(PARTNERS_PATH):
        return path.removeprefix(PARTNERS_PATH), None
    keys = read_callback_keys(environment := Environment(os.environ))
    if environment.faults:
        return "", None
    try:
        claims = CallbackURLs("", keys).redeem(url.partition("?")[0].rpartition(CALLBACKS_PATH)[2])
    except ExpiredToken as expired:
        claims = expired.claims
    except BadToken:
        return "", None
    return claims.partner, claims


def _sign(name: str, scheme: Scheme, request: SignedRequest, delivery_id: str) -> SignedRequest:
    try:
        return scheme.sign_request(request, now=time.time(), delivery_id=delivery_id)
    except ConfigError as error:
        advice = "give its file the private key, as docs/partners.md says, or leave the signature out with --no-sign"
        raise CommandError(f"a callback of {name} cannot be signed: {error}", advice) from error


async def _post(http: httpx.AsyncClient, request: SignedRequest) -> dict[str, Any]:
    try:
        response = await http.post(request.url, content=request.body, headers=list(request.headers))
    except (httpx.TransportError, httpx.InvalidURL) as error:
        what = f"nothing answers at that address ({type(error).__name__})"
        raise CommandError(what, "start the receiver with `stagehook serve`, and check host and port") from error
    return {"status": response.status_code, "body": response.text[:1000]}
