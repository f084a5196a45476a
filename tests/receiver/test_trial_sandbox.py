"""The sandbox inside the web process: who may call it, whom it calls back, and what a restart loses."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import respx

from activities.callback_urls import CallbackURLs, Claims
from activities.partners.partner import Partner
from activities.settings import Settings
from activities.trial import SAMPLES
from receiver.app import create_app
from receiver.body import LARGEST_BODY
from receiver.budget import BURST_SECONDS
from receiver.sandbox import trial
from receiver.sandbox.trial import TrialSandbox
from receiver.sandbox.work_ids import LONGEST_DATA, data_in, work_id
from receiver.start_warnings import warn_of
from tests.parts.switchable import Switchable
from tests.support import SOON
from workflows.contract import Answer, StageCall

PUBLIC = "https://hooks.test"
NEW_KEY, OLD_KEY = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
DATA = {"full_name": "ada lovelace", "iban": "GB33", "signer": "Ada"}


def trial_settings(keys: str = NEW_KEY, **changes: str) -> Settings:
    variables = {"PUBLIC_URL": PUBLIC, "CALLBACK_KEYS": keys, "TRIAL": "1", **changes}
    return Settings.from_env(variables)


SETTINGS = trial_settings()


class Web:
    """A receiver with the sandbox mounted; what is sent to its public address arrives at it."""

    def __init__(self, settings: Settings) -> None:
        made = TrialSandbox.of(settings)
        assert made is not None
        self.temporal = Switchable()
        self.urls = CallbackURLs(settings.public_url, settings.callback_keys)
        self.app = create_app(self.urls, settings.partners, self.temporal, trial=made)
        self.sandbox = made

    @asynccontextmanager
    async def serving(self, *, listens: bool = True) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app)
        with respx.mock(assert_all_called=False) as mocked:
            network = mocked.route(host="hooks.test")
            network.mock(side_effect=respx.ASGIHandler(self.app) if listens else httpx.ConnectError("away"))
            running = self.app.router.lifespan_context(self.app)
            async with running, httpx.AsyncClient(transport=transport, base_url=PUBLIC) as http:
                yield http

    async def settled(self, signals: int) -> None:
        async with asyncio.timeout(SOON):
            while len(self.temporal.sent) < signals:
                await asyncio.sleep(0.01)


def call_of(partner: Partner, data: dict[str, Any] = DATA, stage: int = 1, attempt: int = 1) -> StageCall:
    return StageCall("run", "chain", stage, "stage", partner.name, attempt, 1_800_000_000, 1_900_000_000, data)


def built(partner: Partner, url: str, call: StageCall | None = None) -> httpx.Request:
    """A call as the worker sends it, but for the key."""
    request = partner.build_call(call or call_of(partner), url)
    request.headers["Idempotency-Key"] = Claims.of(call or call_of(partner)).idempotency_key
    return request


def callback_url_of(web: Web, partner: Partner) -> str:
    return web.urls.of(call_of(partner))


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_call_with_the_key_is_called_back(name: str) -> None:
    settings = replace(SETTINGS, partners=trial_settings(PARTNERS=name, DATABASE_URL="postgres://db.test/x").partners)
    partner = settings.partners[name]
    web = Web(settings)
    async with web.serving() as http:
        answer = await http.send(built(partner, callback_url_of(web, partner)), auth=partner.auth or httpx.Auth())
        assert answer.status_code == 202, answer.text
        if not partner.needs_store:
            await web.settled(1)


@pytest.mark.parametrize("name", sorted(SETTINGS.partners))
async def test_without_the_key_the_answer_is_401_and_nothing_is_sent(name: str) -> None:
    partner, web = SETTINGS.partners[name], Web(SETTINGS)
    request = built(partner, callback_url_of(web, partner))
    wrong: list[httpx.Auth] = [httpx.Auth(), httpx.BasicAuth(NEW_KEY, ""), httpx.BasicAuth("", "")]
    wrong += [auth for other, made in SETTINGS.partners.items() if other != name and (auth := made.auth)]
    async with web.serving() as http:
        answers = [(await http.send(request, auth=auth)) for auth in wrong]
        answers += [
            await http.get(f"{PUBLIC}/trial/{path}") for path in ("ledger", name, "", "unknown/calls", f"{name}/x/y")
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert {answer.headers["connection"] for answer in answers} == {"close"}
    assert web.temporal.sent == []


async def test_a_repeated_header_is_not_a_key() -> None:
    bank, web = SETTINGS.partners["cards"], Web(SETTINGS)
    request = built(bank, callback_url_of(web, bank))
    [(name, value)] = trial.credentials_of(bank)
    async with web.serving() as http:
        request.headers = httpx.Headers([*request.headers.raw, (name.encode(), value.encode()), (name.encode(), b"x")])
        assert (await http.send(request)).status_code == 401


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.test/callbacks/a.b",
        f"{PUBLIC}.evil.test/callbacks/a.b",
        f"{PUBLIC}@evil.test/callbacks/a.b",
        f"{PUBLIC}:444/callbacks/a.b",
        "http://hooks.test/callbacks/a.b",
        f"{PUBLIC}/trial/bank/verifications",
        f"{PUBLIC}/callbacks/../metrics",
        f"{PUBLIC}/callbacks/..",
        f"{PUBLIC}/callbacks/a.b?x=https://evil.test",
        f"{PUBLIC}/callbacks/a.b\n",
        f"{PUBLIC}/partners/",
        "",
    ],
)
async def test_nothing_is_sent_to_any_other_address(url: str) -> None:
    bank, web = SETTINGS.partners["bank"], Web(SETTINGS)
    async with web.serving() as http:
        answer = await http.send(built(bank, url), auth=bank.auth or httpx.Auth())
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "foreign")
    assert web.sandbox._sandbox.ledger == {}


async def test_a_call_has_the_limits_of_a_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "CALLS_PER_SECOND", 0.2)
    cards, web = SETTINGS.partners["cards"], Web(SETTINGS)
    headers = {**dict(trial.credentials_of(cards)), "Idempotency-Key": "k"}
    async with web.serving() as http:
        large = await http.post(f"{PUBLIC}/trial/cards/cards", content=b"x" * (LARGEST_BODY + 1), headers=headers)
        assert large.status_code == 413
        answers = [await http.get(f"{PUBLIC}/trial/cards/cards/x", headers=headers) for _ in range(int(BURST_SECONDS))]
    assert {answers[0].status_code, answers[-1].status_code} == {404, 429}
    assert int(answers[-1].headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("web_has", "worker_has"), [("new,old", "old"), ("new,old", "new,old"), ("old,new", "new,old")]
)
async def test_a_call_is_taken_while_keys_are_rotated(web_has: str, worker_has: str) -> None:
    named = {"new": NEW_KEY, "old": OLD_KEY}
    web_keys, worker_keys = (",".join(named[name] for name in keys.split(",")) for keys in (web_has, worker_has))
    partner, web = trial_settings(worker_keys).partners["bank"], Web(trial_settings(web_keys))
    async with web.serving() as http:
        answer = await http.send(built(partner, callback_url_of(web, partner)), auth=partner.auth or httpx.Auth())
        assert answer.status_code == 202
        await web.settled(2)


@pytest.mark.parametrize("listens", [True, False], ids=["before its time", "while it is sent"])
async def test_a_stop_hands_over_the_callbacks_that_are_due_later(*, listens: bool) -> None:
    """At its stop the process listens no more, so the callbacks do not take the network."""
    partner, web = SETTINGS.partners["cards"], Web(SETTINGS)
    async with web.serving(listens=listens) as http:
        answer = await http.send(built(partner, callback_url_of(web, partner)), auth=partner.auth or httpx.Auth())
        assert answer.status_code == 202
        if not listens:
            [work] = web.sandbox._sandbox.ledger.values()
            async with asyncio.timeout(SOON):
                while not work.deliveries:
                    await asyncio.sleep(0.01)
        assert web.temporal.sent == []
    assert len(web.temporal.sent) == 1


async def test_a_status_is_known_after_a_restart() -> None:
    identity, before, after = SETTINGS.partners["identity"], Web(SETTINGS), Web(SETTINGS)
    assert identity.build_ask is not None
    assert identity.read_status is not None
    async with before.serving() as http:
        answer = await http.send(built(identity, callback_url_of(before, identity)), auth=identity.auth or httpx.Auth())
        reference = identity.read_receipt(answer).reference
        assert answer.status_code == 202
    async with after.serving() as http:
        asked = await http.send(
            identity.build_ask(call_of(identity, {}), reference), auth=identity.auth or httpx.Auth()
        )
        forged = await http.send(
            identity.build_ask(call_of(identity, {}), "identity-x"), auth=identity.auth or httpx.Auth()
        )
    assert identity.read_status(asked) == Answer(
        "succeeded", data={"legal_name": "Ada Lovelace", "check_id": reference}
    )
    assert forged.status_code == 404


def test_an_id_holds_data_that_is_short_enough() -> None:
    assert data_in("bank", work_id("bank", "0123456789", DATA)) == DATA
    for data in (None, {"a": "b" * LONGEST_DATA}):
        assert work_id("bank", "0123456789", data) == "bank-01234567"
    longest = {"a": "b" * (LONGEST_DATA - len('{"a":""}'))}
    assert len(work_id("payments", "0123456789", longest)) <= 300
    for wrong in ("bank-01234567", "bank-01234567-e30x!", "bank-01234567-W10", "bank-01234567-_w", ""):
        assert data_in("bank", wrong) is None


def test_trial_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    warn_of(SETTINGS, logging.getLogger("stagehook.server"))
    [record] = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "trial")
