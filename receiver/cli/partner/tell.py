"""Tell a partner to stop or undo the work of a stage, in the partner's own form."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final, Literal

import httpx

from activities.callback_urls import CallbackURLs, Claims
from activities.client import connect
from activities.environment import Environment
from activities.http import NEVER_SENT, UNANSWERED, NotAuthenticated, exchange, flaw_of, http_client
from activities.partner_words import answer_line, partner_words
from activities.partners import PARTNERS, load_partners
from activities.partners.answers import BrokenAnswer
from activities.partners.partner import Partner, work_reference
from activities.reaching import is_refused_handshake, plain_words
from activities.receipts import built
from activities.runs import Runs
from activities.settings import read_callback_keys
from receiver.cli.errors import CommandError
from receiver.cli.output import confirm_first, note, print_json, say
from receiver.cli.terminal import printable
from receiver.telling.stages import state_text
from workflows.contract import StageCall, StageProgress

ANSWERS_WITHIN: Final = 30.0
"""Seconds for the partner's whole answer."""

Verb = Literal["stop", "undo"]


async def tell(verb: Verb, workflow_id: str, stage: int, *, yes: bool, as_json: bool) -> None:
    """Tell the partner to stop or undo the work of the stage's latest call, and print its answer.

    yes: do not ask first. Raises `CommandError` unless the answer is a 2xx.
    """
    call, known = await Runs(await connect(os.environ)).latest_call(workflow_id, stage)
    partner, callback_urls = _partner_and_urls(call)
    request = _build(verb, partner, call, known)
    if not yes:
        confirm_first(f"{verb} {known.reference} at {partner.name}: {_stage_in_words(call, known)}")
    response = await _send(verb, partner, request)
    if flaw := flaw_of(response):
        note(printable(f"partner {partner.name}: the answer cannot be read: {flaw}"))
    status, said = response.status_code, printable(partner_words(response, *callback_urls))
    told = {"told": verb, "partner": partner.name, "reference": known.reference, "status": status, "said": said}
    if as_json:
        print_json({"workflow_id": workflow_id, "stage": stage, "attempt": call.attempt, **told})
    if not response.is_success:
        later = status >= 500 or status in {408, 429}
        advice = f"say it again later: a second {verb} carries the same key" if later else _by_hand(known.reference)
        raise CommandError(answer_line(partner, status, said), advice)
    if not as_json:
        say(answer_line(partner, status, said))


def _partner_and_urls(call: StageCall) -> tuple[Partner, list[str]]:
    """Return the call's partner, and for every key the callback URL that its answer may echo; raises `SettingsError`.

    Raises `CommandError` if this code does not have the partner.
    """
    if call.partner not in PARTNERS:
        what = f"the code here has no partner {call.partner!r}, which stage {call.stage} called"
        raise CommandError(what, "run the release of Stagehook that the worker runs")
    env = Environment(os.environ)
    partners = load_partners([call.partner], env)
    keys = read_callback_keys(env)
    env.check()
    return partners[call.partner], [CallbackURLs("", [key]).of(call) for key in keys]


def _build(verb: Verb, partner: Partner, call: StageCall, known: StageProgress) -> httpx.Request:
    build = partner.build_stop if verb == "stop" else partner.build_undo
    if build is None:
        what = f"partner {partner.name} cannot be told to {verb} work: its file has no build_{verb}"
        raise CommandError(what, _by_hand(known.reference or work_reference(call)))
    if not known.reference:
        what = f"stage {call.stage} has no reference of {partner.name}'s: the call has not returned, or brought none"
        raise CommandError(what, f"see `stagehook pipeline show`; {_by_hand(work_reference(call))}")
    if verb == "undo" and 0 < known.outcome_attempt != call.attempt:
        what = (
            f"call {known.outcome_attempt} has settled stage {call.stage}, and only call {call.attempt}'s work is known"
        )
        raise CommandError(what, _by_hand(work_reference(replace(call, attempt=known.outcome_attempt))))
    try:
        request = built(build, call, known.reference)
    except BrokenAnswer as error:
        what = f"partner {partner.name} cannot be told to {verb} work: {error}"
        raise CommandError(what, _by_hand(known.reference)) from None
    if partner.idempotency_header:
        request.headers[partner.idempotency_header] = f"{verb}-{Claims.of(call).idempotency_key}"
    return request


def _by_hand(name: str) -> str:
    return f"look for {printable(name)} at the partner, and settle it there"


def _stage_in_words(call: StageCall, known: StageProgress) -> str:
    return f"stage {call.stage} {call.name} of {call.workflow_id}, call {call.attempt}, {state_text(known)}"


async def _send(verb: Verb, partner: Partner, request: httpx.Request) -> httpx.Response:
    try:
        async with http_client() as http:
            return await exchange(http, partner, request, within=ANSWERS_WITHIN)
    except UNANSWERED as error:
        why = plain_words(error, partner.connection)
        if isinstance(error, NEVER_SENT) or is_refused_handshake(error):
            what = f"partner {partner.name} could not be reached ({why})"
            advice = "check the address in its variables, and the network; it was told nothing"
            raise CommandError(what, advice) from None
        what = f"partner {partner.name} gave no whole answer ({why}), and may have done it"
        raise CommandError(what, f"say it again: a second {verb} carries the same key") from None
    except NotAuthenticated as error:
        what = f"partner {partner.name} was told nothing: {error}"
        raise CommandError(what, "check its credentials, and say it again") from None
