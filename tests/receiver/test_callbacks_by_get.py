"""A GET is a callback where the query of a callback URL is signed, and nowhere else."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.environment import Environment
from activities.partners import load_partners
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.reading import text_at
from activities.partners.received import Received
from activities.signatures import SCHEMES
from tests.parts.callbacks import CLAIMS, URLS, for_temporal, url_for
from tests.parts.one_url import GITHUB, PLAIN, receiver
from tests.parts.partner_list import list_only
from tests.support import ScriptedPartner, result_of, stage, start, waiting, working
from workflows.contract import Answer


def by_query(received: Received) -> Event:
    return Event(Answer("succeeded", {"n": text_at(received.query_fields(), "n")}))


TAKES_GET: dict[str, Any] = {"takes_get": True, "read_event": by_query}
SIGNS_URL = SCHEMES["square"](secrets=["secret"])


async def test_a_get_settles_a_stage_where_its_query_is_signed(real: WorkflowEnvironment) -> None:
    async with (
        receiver(for_temporal(real.client), signature=SIGNS_URL, **TAKES_GET) as http,
        working(real.client, ScriptedPartner()),
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        url = url_for(handle) + "?n=7"
        proof = SIGNS_URL.sign(b"", url=url, now=time.time(), delivery_id="")
        unsigned = await http.get(url)
        changed = await http.get(url_for(handle) + "?n=8", headers=proof)
        head = await http.head(url, headers=proof)
        signed = await http.get(url, headers=proof)
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert [answer.status_code for answer in (unsigned, changed, head, signed)] == [401, 401, 405, 202]
    assert (outcome.cause, outcome.data) == ("callback", {"n": "7"})


async def test_a_get_settles_nothing_elsewhere() -> None:
    for changes in ({"signature": SIGNS_URL}, {"signature": GITHUB, "takes_get": True}, {"takes_get": True}):
        async with receiver(**changes) as http:
            url = URLS.issue(CLAIMS) + "?n=7"
            proof = SIGNS_URL.sign(b"", url=url, now=time.time(), delivery_id="")
            assert (await http.get(url, headers=proof)).status_code == 405


def test_a_get_without_a_signed_url_is_a_fault_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for signature in (None, GITHUB):
        partner = replace(PLAIN, signature=signature, takes_get=True)
        list_only(monkeypatch, {"bank": partial(_as_it_is, partner)})
        environment = Environment({})
        load_partners(["bank"], environment)
        assert "takes a GET" in environment.faults[0].problem


def _as_it_is(partner: Partner, _: Environment) -> Partner:
    return partner
