"""Answers that a partner wants in its own way: only where no callback can be lost by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.partner import ANSWERS_OF_ITS_OWN, OwnAnswer
from activities.signatures import SCHEMES, ConfigError
from receiver.answers import Verdict
from receiver.app import create_app
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, for_temporal, no_temporal, url_for
from tests.support import ScriptedPartner, result_of, stage, start, waiting, working

OWN = {"accepted": OwnAnswer(200, "[accepted]"), "gone": OwnAnswer(200), "unreadable": OwnAnswer(406)}
PLAIN = sandbox.partner("bank", Environment({}))


@asynccontextmanager
async def receiver(
    answers: Mapping[str, OwnAnswer], signals: Signals | None = None, *, signs: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    scheme = SCHEMES["github"](secrets=["secret"]) if signs else None
    partners = {name: replace(PLAIN, name=name, answers=answers, signature=scheme) for name in ("bank", "partner-1")}
    app = create_app(URLS, partners, signals or Signals(no_temporal))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http:
        yield http


@pytest.mark.parametrize(
    ("case", "status"),
    [("accepted", 410), ("accepted", 302), ("gone", 302), ("gone", 503), ("unreadable", 200), ("unreadable", 503)]
    + [
        (verdict.name.lower(), 200)
        for verdict in Verdict
        if verdict.name.lower() not in {"accepted", "gone", "conflict"}
    ],
)
def test_no_partner_can_be_made_that_takes_for_kept_what_is_not(case: str, status: int) -> None:
    with pytest.raises(ConfigError, match="cannot be answered"):
        replace(PLAIN, answers={case: OwnAnswer(status)})


def test_an_answer_without_a_body_says_so() -> None:
    with pytest.raises(ConfigError, match="has no body"):
        replace(PLAIN, answers={"accepted": OwnAnswer(204)})
    replace(PLAIN, answers={"accepted": OwnAnswer(204, "")})


def test_every_case_is_a_line_of_the_table() -> None:
    assert set(ANSWERS_OF_ITS_OWN) <= {verdict.name.lower() for verdict in Verdict}


@pytest.mark.system
async def test_kept_and_late_callbacks_get_the_partners_own_answer(real: WorkflowEnvironment) -> None:
    async with receiver(OWN, for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        first = await http.post(url_for(handle), json=DONE)
        await result_of(handle)
        again = await http.post(url_for(handle), json=DONE)
        late = await http.post(url_for(handle), json={**DONE, "data": {"n": 2}})
    for answer in (first, again):
        assert (answer.status_code, answer.text) == (200, "[accepted]")
        assert answer.headers["content-type"].startswith("text/plain")
    assert (late.status_code, late.json()["answer"]) == (200, "this callback URL is closed: its work is over")


async def test_an_expired_token_still_tells_whose_way_it_is() -> None:
    async with receiver(OWN) as http:
        answer = await http.post(URLS.issue(replace(CLAIMS, expires_at=1_790_000_001)), json=DONE)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


async def test_an_own_body_keeps_the_order_to_close() -> None:
    """The request's body was not read, so that the connection cannot be used again."""
    async with receiver({"gone": OwnAnswer(200, "[gone]")}) as http:
        answer = await http.post(URLS.issue(replace(CLAIMS, expires_at=1_790_000_001)), json=DONE)
    assert (answer.text, answer.headers["connection"]) == ("[gone]", "close")


async def test_an_unreadable_body_may_get_a_status_that_ends_retries() -> None:
    async with receiver(OWN) as http:
        answer = await http.post(URLS.issue(CLAIMS), json={})
    assert (answer.status_code, answer.json()["answer"]) == (406, "the body cannot be read")


async def test_what_is_not_kept_is_answered_by_the_table() -> None:
    async with receiver(OWN, signs=True) as http:
        assert (await http.post(URLS.issue(CLAIMS), json=DONE)).status_code == 401
        assert (await http.post(URLS.issue(CLAIMS)[:-3], json=DONE)).status_code == 404
        assert (await http.post(URLS.issue(replace(CLAIMS, partner="unheard-of")), json=DONE)).status_code == 503
    async with receiver(OWN) as http:  # Temporal is away
        assert (await http.post(URLS.issue(CLAIMS), json=DONE)).status_code == 503
