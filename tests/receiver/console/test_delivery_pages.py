"""The console's pages of deliveries on a real store: what they show, and what an operator can do there."""

from __future__ import annotations

import asyncio
import html
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from unittest.mock import patch

import httpx
import pytest
import sqlalchemy as sa

from activities.partners.partner import Partner
from activities.store.database import Database
from activities.store.errors import StoreAway, StoreSlow
from activities.store.read_only import READERS_AT_ONCE
from activities.store.store import Store
from receiver.answers import Verdict
from receiver.console.app import create_console
from receiver.console.options import ConsoleOptions
from receiver.console.page_store import QUERY_LIMIT, PageStore
from receiver.console.sources import Sources
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate, digest
from tests.parts.consoles import URL, Browser, away, browsing, open_console
from tests.parts.deliveries import delivery
from tests.parts.doors import Door, fate_of, opened
from tests.parts.switchable import Switchable
from tests.stores import PATIENCE
from tests.support import KEY

pytestmark = pytest.mark.system

MARKUP = "<script>alert(1)</script>"
ENV = {"PUBLIC_URL": "http://127.0.0.1:9", "CALLBACK_KEYS": KEY, "PARTNERS": "sandbox"}
ENDLESS = {
    True: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    False: "SELECT pg_sleep(60)",
}


@asynccontextmanager
async def visiting(database: Database, partners: Mapping[str, Partner] | None = None) -> AsyncIterator[Browser]:
    sources = Sources(away, Store(database), partners or {}, [KEY])
    async with browsing(create_console(ConsoleOptions(URL, actor="ada"), sources)) as browser:
        yield browser


@pytest.fixture
async def browser(database: Database) -> AsyncIterator[Browser]:
    async with visiting(database) as browser:
        yield browser


def ids_on(page: httpx.Response) -> list[str]:
    return re.findall(r'<th scope="row" class="id"><a class="mono" href="/delivery\?id=([0-9a-f]+)"', page.text)


def links(page: httpx.Response) -> dict[str, str]:
    found = re.findall(r'<a href="([^"]+)"[^>]*>(Older|Newest|All)</a>', page.text)
    return {name: html.unescape(address) for address, name in found}


def text_of(page: httpx.Response) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.text))


# --- the list


async def test_each_filter_chooses(database: Database, browser: Browser) -> None:
    at = time.time()
    made = {
        "old": delivery(received_at=at - 7200),
        "gone": delivery(verdict="gone", status=410, received_at=at - 60),
        "esign": delivery(partner="esign", stage=3, fate=Fate.PARKED, received_at=at - 30),
        "other": delivery(workflow_id="other", pipeline="refund", received_at=at),
    }
    Archive(database).add(list(made.values()))
    names = {one.id: name for name, one in made.items()}

    async def chosen(query: str) -> list[str]:
        return [names[id_] for id_ in ids_on(await browser.get(f"/deliveries?{query}"))]

    assert await chosen("") == ["other", "esign", "gone", "old"]
    assert await chosen("verdict=gone") == await chosen("refused=1") == ["gone"]
    assert await chosen("verdict=gone&verdict=accepted") == ["other", "esign", "gone", "old"]
    assert await chosen("partner=esign") == await chosen("stage=3") == await chosen("fate=parked") == ["esign"]
    assert await chosen("run=other") == await chosen("pipeline=refund") == ["other"]
    assert await chosen("since=1h") == ["other", "esign", "gone"]
    assert await chosen("until=1h") == ["old"]
    assert await chosen("partner=nobody") == []


async def test_a_page_goes_on_where_the_last_one_ended(database: Database, browser: Browser) -> None:
    at = time.time()
    # Many at the same moment, as of a batch: their place among each other counts too.
    made = [delivery(received_at=at + n // 30) for n in range(120)]
    Archive(database).add(made)
    first = await browser.get("/deliveries?partner=bank")
    Archive(database).add([delivery(received_at=at + 60)])
    second = await browser.get(links(first)["Older"])
    third = await browser.get(links(second)["Older"])
    seen = [*ids_on(first), *ids_on(second), *ids_on(third)]
    assert (len(seen), set(seen)) == (120, {one.id for one in made})
    assert "Older" not in links(third)
    assert len(ids_on(await browser.get(links(third)["Newest"]))) == 50


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("since=soon", "Invalid since 'soon': use an age such as 2h, or a time such as 2026-01-31T12:00."),
        ("stage=x", "Invalid stage 'x': use a number from 1 to 1000."),
        ("stage=0", "Invalid stage '0': use a number from 1 to 1000."),
        ("fate=lost", "Unknown fate 'lost'."),
        (f"verdict={MARKUP}", f"Unknown verdict '{MARKUP}'."),
        ("before=nan~1", "Invalid place to go on from: begin with the newest."),
        ("before=1~99999999999999999999", "Invalid place to go on from: begin with the newest."),
    ],
)
async def test_a_wrong_filter_is_told(query: str, says: str, database: Database, browser: Browser) -> None:
    page = await browser.get(f"/deliveries?{query}")
    assert page.status_code == 400
    assert says in text_of(page)
    assert MARKUP not in page.text


async def test_a_text_that_no_column_holds_chooses_nothing(browser: Browser) -> None:
    for typed in ("%00", "%ff", "%ed%a0%80"):
        page = await browser.get(f"/deliveries?partner={typed}")
        assert (page.status_code, ids_on(page)) == (200, [])


async def test_without_a_store_a_page_says_what_to_set() -> None:
    async with browsing(open_console()) as browser:
        for path in ("/deliveries", "/delivery?id=a"):
            page = await browser.get(path)
            assert page.status_code == 503
            assert "DATABASE_URL is not set" in page.text


# --- one delivery


async def test_what_a_partner_wrote_is_escaped(database: Database, browser: Browser) -> None:
    body = f"{MARKUP}\0\u202e</pre>".encode()
    one = delivery(
        headers=(("x-note", MARKUP),),
        reason=MARKUP,
        workflow_id=MARKUP,
        says=MARKUP,
        body=body,
        body_size=len(body),
        body_digest=digest(body),
    )
    Archive(database).add([one])
    page = await browser.get(f"/delivery?id={one.id}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert page.text.count("</pre>") == 1
    assert f"{MARKUP}\\x00\\u202e</pre>" in text_of(page)


async def test_an_unknown_delivery_is_told(browser: Browser) -> None:
    for path in ("/delivery?id=%00", "/delivery?id=%ff", "/delivery?id=%ed%a0%80", "/delivery"):
        assert (await browser.get(path)).status_code == 404


async def test_the_page_holds_no_token_but_the_curl_line(database: Database, browser: Browser) -> None:
    one = delivery(target="/callbacks/{run/1/1}", body=b"{}", body_size=2, body_digest=digest(b"{}"))
    Archive(database).add([one])
    page = await browser.get(f"/delivery?id={one.id}")
    token = re.compile(r"/callbacks/[.A-Za-z0-9_-]{40}")
    assert not token.search(page.text)
    with patch.dict("os.environ", ENV):
        line = await browser.send(page, "/delivery/curl")
    assert line.status_code == 200
    assert token.search(line.text)


async def test_a_release_is_done_with_its_reason_once(
    database: Database, door: Door, browser: Browser, temporal: Switchable, caplog: pytest.LogCaptureFixture
) -> None:
    one = delivery()
    assert await door.deliver(one) is Verdict.ACCEPTED
    while fate_of(database, one) is Fate.PENDING:
        await asyncio.sleep(0.05)
    page = await browser.get(f"/delivery?id={one.id}")
    with caplog.at_level(logging.INFO, "stagehook.console"):
        refused = await browser.send(page, "/delivery/release", reason="  ")
        assert (refused.status_code, "The reason has 0 characters" in refused.text) == (422, True)
        answer = await browser.send(page, "/delivery/release", reason="the run was reset")
    assert answer.status_code == 303
    told = await browser.get(answer.headers["location"])
    assert "Released: it is queued again" in told.text
    [order] = [record for record in caplog.records if record.message == "console-order"]
    facts = {name: vars(order)[name] for name in ("order", "delivery", "actor", "reason")}
    assert facts == {"order": "release", "delivery": one.id, "actor": "ada", "reason": "the run was reset"}


async def test_what_was_imported_has_no_release(database: Database, browser: Browser) -> None:
    one = delivery()
    Archive(database).add([one])
    page = await browser.get(f"/delivery?id={one.id}")
    assert "/delivery/release" not in page.text
    assert "/delivery/replay" in page.text


async def test_a_replay_is_planned_first(database: Database, browser: Browser) -> None:
    one = delivery()
    Archive(database).add([one])
    page = await browser.get(f"/delivery?id={one.id}")
    with patch.dict("os.environ", ENV):
        plan = await browser.send(page, "/delivery/replay", reason="to try")
        assert plan.status_code == 200
        assert "http://127.0.0.1:9" in plan.text
        done = await browser.send(plan, "/delivery/replay/confirmed")
    assert done.status_code == 503  # Temporal, which is asked for the run, is away
    assert Archive(database).latest()[0].id == one.id


async def test_another_machine_gets_a_replay_only_if_confirmed(database: Database, browser: Browser) -> None:
    one = delivery()
    Archive(database).add([one])
    page = await browser.get(f"/delivery?id={one.id}")
    with patch.dict("os.environ", {**ENV, "PUBLIC_URL": "https://hooks.example.com"}):
        plan = await browser.send(page, "/delivery/replay", reason="to try")
        assert 'name="remote"' in plan.text
        refused = await browser.send(plan, "/delivery/replay/confirmed")
        assert refused.status_code == 422
        assert "The receiver https://hooks.example.com is not this machine" in text_of(refused)
        confirmed = await browser.send(plan, "/delivery/replay/confirmed", remote="1")
    assert confirmed.status_code == 503  # Temporal is away


# --- the door is not slowed


async def run_endlessly(pages: PageStore, database: Database) -> None:
    def ask(archive: Archive) -> None:
        with archive._database.begin() as connection:
            connection.execute(sa.text(ENDLESS[database.is_sqlite]))

    with pytest.raises(StoreSlow):
        await pages.ask(ask)


async def test_hanging_pages_delay_no_callback(database: Database) -> None:
    pages = PageStore(database)
    async with opened(database, Switchable()) as door:
        hanging = [asyncio.create_task(run_endlessly(pages, database)) for _ in range(3 * READERS_AT_ONCE)]
        await asyncio.sleep(0)
        began = time.monotonic()
        assert await door.deliver(delivery()) is Verdict.ACCEPTED
        assert time.monotonic() - began < PATIENCE
        await asyncio.gather(*hanging)


async def test_a_page_that_gets_no_turn_says_so(database: Database) -> None:
    sources, free = Sources(away, Store(database)), threading.Event()
    held = threading.Barrier(READERS_AT_ONCE + 1)

    def hold(archive: Archive) -> None:
        held.wait(60)
        free.wait(60)

    holders = [asyncio.create_task(sources.need_deliveries().ask(hold)) for _ in range(READERS_AT_ONCE)]
    await asyncio.to_thread(held.wait, 60)
    async with browsing(create_console(ConsoleOptions(URL, actor="ada"), sources)) as browser:
        began = time.monotonic()
        page = await browser.get("/deliveries")
        took = time.monotonic() - began
        free.set()
        await asyncio.gather(*holders)
        assert (page.status_code, "narrow the filters" in page.text) == (503, True)
        assert took < 3 * QUERY_LIMIT
        assert (await browser.get("/deliveries")).status_code == 200


async def test_nothing_is_written_through_a_page(database: Database) -> None:
    pages = PageStore(database)
    with pytest.raises(StoreAway, match=r"read.?only"):
        await pages.ask(lambda archive: archive.add([delivery()]))
