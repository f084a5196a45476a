"""The console's page of partners: their lanes on a real server, their figures, and the keys."""

from __future__ import annotations

import html
import re
import time

import httpx
import pytest
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import fingerprint
from activities.finding import RunFilter, register_attributes
from activities.lanes import look_at_lane
from activities.store.database import Database
from activities.store.store import Store
from receiver.console.app import create_console
from receiver.console.options import ConsoleOptions
from receiver.console.sources import Sources
from receiver.deliveries.archive import Archive
from tests.parts.bulk_runs import begin_waiting, until_listed
from tests.parts.callbacks import partners
from tests.parts.consoles import URL, away, browsing, with_client
from tests.parts.deliveries import delivery
from tests.support import KEY, ScriptedPartner, stage, working
from workflows.lanes import call_lane


def text_of(page: httpx.Response) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


async def test_a_partner_is_paused_and_resumed(real: WorkflowEnvironment) -> None:
    sources = Sources(with_client(real.client), None, partners())
    lane = call_lane("stagehook", "bank")
    async with browsing(create_console(ConsoleOptions(URL, actor="ada"), sources)) as browser:
        page = await browser.get("/partners")
        for until, says in (
            ("2020-01-01", "is over: name a time to come"),
            ("1970-01-01T00:00:00Z", "is over: name a time to come"),
            ("999999w", "it is before the year 1 or after 9999"),
            ("", "bytes, and Temporal keeps 1000: shorten it"),
        ):
            reason = "repairs" if until else "😀" * 300
            wrong = await browser.send(page, "/partners/pause?name=bank", reason=reason, until=until)
            assert (wrong.status_code, says in text_of(wrong)) == (422, True)
        assert (await look_at_lane(real.client, lane)).hold is None
        paused = await browser.send(page, "/partners/pause?name=bank", reason="repairs", until="2h")
        hold = (await look_at_lane(real.client, lane)).hold
        assert hold is not None
        assert (hold.actor, hold.reason, 7000 < hold.until - time.time() < 7300) == ("ada", "repairs", True)
        page = await browser.get(paused.headers["location"])
        assert "Paused: no call to bank begins until" in text_of(page)
        assert "paused by ada" in text_of(page)
        resumed = await browser.send(page, "/partners/resume?name=bank", reason="repaired")
        assert resumed.status_code == 303
        assert (await look_at_lane(real.client, lane)).hold is None


async def test_runs_that_wait_are_counted_by_temporal(real: WorkflowEnvironment) -> None:
    """The store does not know which runs have ended."""
    await register_attributes(real.client)
    sources = Sources(with_client(real.client), None, partners())
    async with working(real.client, ScriptedPartner()):
        await begin_waiting(real, "waits", stage(1, partner="bank"))
        await until_listed(real, RunFilter(partner="bank"), 1)
        async with browsing(create_console(ConsoleOptions(URL, actor="ada"), sources)) as browser:
            assert "Waiting 1 run Signs" in text_of(await browser.get("/partners"))


async def test_the_page_is_there_without_temporal_and_store() -> None:
    sources = Sources(away, None, partners(), [KEY])
    async with browsing(create_console(ConsoleOptions(URL, actor="ada"), sources)) as browser:
        page = await browser.get("/partners")
        assert page.status_code == 200
        assert "Temporal at 127.0.0.1:1 does not answer" in text_of(page)
        assert "DATABASE_URL is not set" in text_of(page)
        assert fingerprint(KEY) in page.text
        assert KEY not in page.text


async def test_the_page_is_there_without_lanes(real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise RPCError("too many requests", RPCStatusCode.RESOURCE_EXHAUSTED, b"")

    async with browsing(
        create_console(ConsoleOptions(URL, actor="ada"), Sources(with_client(real.client), None, partners()))
    ) as browser:
        form = await browser.get("/partners")
        for name in ("look_at_lane", "count_waiting", "hold_lane"):
            monkeypatch.setattr(f"receiver.console.pages.partners.{name}", refuse)
        page = await browser.get("/partners")
        paused = await browser.send(form, "/partners/pause?name=bank", reason="repairs")
    assert (page.status_code, paused.status_code) == (200, 503)
    assert "not known: Temporal at" in text_of(page)
    assert "RESOURCE_EXHAUSTED: too many requests" in text_of(paused)


async def test_an_unknown_partner_is_not_paused() -> None:
    async with browsing(create_console(ConsoleOptions(URL, actor="ada"), Sources(away, None, partners()))) as browser:
        page = await browser.get("/partners")
        assert "/partners/pause" not in page.text  # whether it is held is not known
        assert (await browser.get("/partners/pause?name=nobody")).status_code == 405


async def test_what_a_partner_sent_that_was_refused_is_counted(database: Database) -> None:
    Archive(database).add([delivery(verdict="unproven", status=401, reason="<b>stale</b>") for _ in range(3)])
    sources = Sources(away, Store(database), partners(), [KEY])
    async with browsing(create_console(ConsoleOptions(URL, actor="ada"), sources)) as browser:
        page = await browser.get("/partners")
        assert "3 unproven: &lt;b&gt;stale&lt;/b&gt;" in page.text
