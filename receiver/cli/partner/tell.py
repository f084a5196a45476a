"""`stagehook partner stop` and `stagehook partner undo`: tell a partner about the work of a stage, in its own form."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Final, Literal

import click
import httpx

from activities.callback_urls import CallbackURLs, Claims
from activities.calls import answer_line, words
from activities.client import connect
from activities.environment import Environment
from activities.http import NEVER_SENT, UNANSWERED, exchange, flaw_of, http_client
from activities.partners import PARTNERS, load_partners
from activities.partners.answers import BrokenAnswer
from activities.partners.partner import Partner, work_reference
from activities.receipts import built
from activities.runs import Runs
from activities.settings import read_callback_keys
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import confirm, json_option, note, print_json, run_async, say
from receiver.cli.pipeline.stage_table import state_text
from receiver.cli.terminal import printable
from workflows.contract import StageCall, StageProgress

ANSWERS_WITHIN: Final = 30.0
"""Seconds that the partner has for its whole answer."""

Verb = Literal["stop", "undo"]

run_argument = click.argument("workflow_id", metavar="RUN")
stage_argument = click.argument("stage", type=int)
yes_option = click.option("--yes", is_flag=True, help="Do not ask whether to go on.")


@click.command()
@run_argument
@stage_argument
@yes_option
@json_option
@run_async
async def stop(workflow_id: str, stage: int, *, yes: bool, as_json: bool) -> None:
    """Tell the partner that the work of RUN's stage number STAGE need not be finished.

    It is the work of the stage's latest call that is meant. The run is not told: a stage that waits goes on waiting,
    and calls again if that is its policy. End the run first with `stagehook pipeline cancel`, or the wait with
    `stagehook pipeline advance`.

    Sent again, it carries the same Idempotency-Key. Needs CALLBACK_KEYS and the partner's own variables. Exits 1 unless
    the answer is a 2xx.
    """
    await _tell("stop", workflow_id, stage, yes=yes, as_json=as_json)


@click.command()
@run_argument
@stage_argument
@yes_option
@json_option
@run_async
async def undo(workflow_id: str, stage: int, *, yes: bool, as_json: bool) -> None:
    """Have the partner take back what the finished work of RUN's stage number STAGE has done.

    The run is not told: the stage keeps its outcome, and later stages that use it go on. End the run first with
    `stagehook pipeline cancel`, or a later stage's wait with `stagehook pipeline advance`.

    Sent again, it carries the same Idempotency-Key. Needs CALLBACK_KEYS and the partner's own variables. Exits 1 unless
    the answer is a 2xx.
    """
    await _tell("undo", workflow_id, stage, yes=yes, as_json=as_json)


async def _tell(verb: Verb, workflow_id: str, stage: int, *, yes: bool, as_json: bool) -> None:
    call, known = await Runs(await connect(os.environ)).latest_call(workflow_id, stage)
    partner, callback_urls = _load(call)
    request = _build(verb, partner, call, known)
    if not yes:
        _confirm(f"{verb} {known.reference} at {partner.name}: {_stage_in_words(call, known)}")
    response = await _send(verb, partner, request)
    if flaw := flaw_of(response):
        note(printable(f"partner {partner.name}: the answer cannot be read: {flaw}"))
    status, said = response.status_code, printable(words(response, *callback_urls))
    told = {"told": verb, "partner": partner.name, "reference": known.reference, "status": status, "said": said}
    if as_json:
        print_json({"workflow_id": workflow_id, "stage": stage, "attempt": call.attempt, **told})
    if not response.is_success:
        later = status >= 500 or status in {408, 429}
        advice = f"say it again later: a second {verb} carries the same key" if later else _by_hand(known.reference)
        raise CommandError(answer_line(partner, status, said), advice)
    if not as_json:
        say(answer_line(partner, status, said))


def _load(call: StageCall) -> tuple[Partner, list[str]]:
    """The call's partner and, by every key, the callback URL that its answer may echo; raises `SettingsError`."""
    if call.partner not in PARTNERS:
        what = f"the code here has no partner {call.partner!r}, which stage {call.stage} called"
        raise CommandError(what, "run the release of Stagehook that the worker runs")
    env = Environment(os.environ)
    partners = load_partners([call.partner], env)
    keys = read_callback_keys(env)
    env.check()
    return partners[call.partner], [CallbackURLs("", [key]).issue(Claims.of(call)) for key in keys]


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
    request.headers["Idempotency-Key"] = f"{verb}-{Claims.of(call).idempotency_key}"
    return request


def _by_hand(name: str) -> str:
    return f"look for {printable(name)} at the partner, and settle it there"


def _stage_in_words(call: StageCall, known: StageProgress) -> str:
    return f"stage {call.stage} {call.name} of {call.workflow_id}, call {call.attempt}, {state_text(known)}"


def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError("stdin is not a terminal, so it cannot be confirmed", "say --yes", Exit.USAGE)
    note(printable(what))
    confirm()


async def _send(verb: Verb, partner: Partner, request: httpx.Request) -> httpx.Response:
    try:
        async with http_client() as http:
            return await exchange(http, partner, request, within=ANSWERS_WITHIN)
    except NEVER_SENT as error:
        what = f"partner {partner.name} could not be reached ({type(error).__name__})"
        raise CommandError(what, "check the address in its variables, and the network; it was told nothing") from None
    except UNANSWERED as error:
        what = f"partner {partner.name} gave no whole answer ({type(error).__name__}), and may have done it"
        raise CommandError(what, f"say it again: a second {verb} carries the same key") from None
