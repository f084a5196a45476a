"""The console's lists of runs on the real server: what waits, in which order, and pages of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

import activities.waiting
from activities.finding import RunFilter, register_attributes
from activities.listing import list_runs
from activities.runs import Runs
from activities.waiting import waiting_runs
from receiver.console.pages import runs as runs_page
from receiver.console.pages import waiting as waiting_page
from tests.parts.consoles import Browser, browsing, open_console, with_client
from tests.support import QUEUE, RUN_TIMEOUT, Handle, ScriptedPartner, pipeline, stage, start, until, waiting, working
from workflows.contract import Stage

pytestmark = pytest.mark.system

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b]52;"


async def begin(env: WorkflowEnvironment, name: str, *stages: Stage) -> Handle:
    definition = replace(pipeline(*stages), name=name)
    return await Runs(env.client).start(definition, {}, task_queue=QUEUE, workflow_id=f"run-of-{name}")


@pytest.fixture
async def findable(real: WorkflowEnvironment) -> WorkflowEnvironment:
    await register_attributes(real.client)
    return real


@pytest.fixture
async def browser(real: WorkflowEnvironment) -> AsyncIterator[Browser]:
    async with browsing(open_console(with_client(real.client))) as browser:
        yield browser


async def until_page(browser: Browser, address: str, holds: Callable[[httpx.Response], bool]) -> httpx.Response:
    """The page as soon as this holds: Temporal lists a run a moment after it has changed."""
    async with asyncio.timeout(RUN_TIMEOUT):
        while not holds(page := await browser.get(address)):
            await asyncio.sleep(0.05)
    return page


def order_of(page: httpx.Response, *names: str) -> list[str]:
    return sorted(
        (name for name in names if f">run-of-{name}<" in page.text),
        key=lambda name: page.text.index(f">run-of-{name}<"),
    )


async def test_waiting_runs_come_in_the_order_of_their_urgency(findable: WorkflowEnvironment, browser: Browser) -> None:
    names = ("late", "soon", "person")
    async with working(findable.client, ScriptedPartner()):
        await begin(findable, "person", stage(1, timeout=0.5, on_timeout="escalate"))
        await waiting(await begin(findable, "late", stage(1, timeout=9000.0)))
        await waiting(await begin(findable, "soon", stage(1, timeout=600.0)))
        page = await until_page(browser, "/", lambda page: order_of(page, *names) == ["person", "soon", "late"])
        assert "1 to 3 of 3" in " ".join(page.text.split())
        assert "partner-1" in page.text
        await until_page(browser, "/?state=needs_person", lambda page: order_of(page, *names) == ["person"])
        found = await browser.get("/?due=1h&state=waiting")
        assert order_of(found, *names) == ["soon"]
        assert 'name="due" value="1h"' in found.text


async def test_more_runs_than_are_sorted_keep_the_urgent_ones(
    findable: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest run is the urgent one: a plain list of the latest would cut it off."""
    monkeypatch.setattr(activities.waiting, "MOST_SORTED", 2)
    runs, now = Runs(findable.client), datetime.now(UTC)
    async with working(findable.client, ScriptedPartner()):
        await until(
            await begin(findable, "first", stage(1, timeout=0.5, on_timeout="escalate")),
            1,
            lambda one: one.state == "needs_person",
        )
        for name in ("second", "third", "fourth"):
            await waiting(await begin(findable, name, stage(1)))
        async with asyncio.timeout(RUN_TIMEOUT):
            while len(await list_runs(runs, where=RunFilter(waiting=True))) < 4:
                await asyncio.sleep(0.05)
        found = await waiting_runs(runs, RunFilter(), now=now, first=0, most=5)
    assert (found.total, found.sorted_runs) == (4, 2)
    known = found.shown[0].open_stages
    assert known is not None
    assert (known.state, known.stages, known.partners) == ("needs_person", ["step-1"], ["partner-1"])
    assert known.deadline is not None
    assert known.deadline > now.timestamp()
    assert found.shown[0].workflow_id == "run-of-first"


async def test_an_overdue_run_comes_before_one_with_time(findable: WorkflowEnvironment) -> None:
    runs = Runs(findable.client)
    async with working(findable.client, ScriptedPartner()):
        await waiting(await begin(findable, "overdue", stage(1, timeout=60.0)))
        await waiting(await begin(findable, "other", stage(1)))
        async with asyncio.timeout(RUN_TIMEOUT):
            while len(await list_runs(runs, where=RunFilter(waiting=True))) < 2:
                await asyncio.sleep(0.05)
        later = datetime.now(UTC) + timedelta(minutes=5)
        found = await waiting_runs(runs, RunFilter(), now=later, first=0, most=1)
    assert [run.workflow_id for run in found.shown] == ["run-of-overdue"]


async def test_long_lists_have_pages(
    findable: WorkflowEnvironment, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_page, "PAGE_SIZE", 2)
    monkeypatch.setattr(runs_page, "PAGE_SIZE", 2)
    names = ("a", "b", "c")
    async with working(findable.client, ScriptedPartner()):
        for name in names:
            await waiting(await begin(findable, name, stage(1)))
        first = await until_page(browser, "/", lambda page: "of 3 runs" in " ".join(page.text.split()))
        second = await browser.get("/?page=2")
        for one, other in ((first, second), await _pages_of_runs(browser)):
            assert sorted(order_of(one, *names) + order_of(other, *names)) == ["a", "b", "c"]
            assert (one.text.count('rel="next"'), other.text.count('rel="next"')) == (1, 0)
        of_partner = await browser.get("/?partner=partner-1")
        assert 'partner=partner-1">partner-1</a>: 3 runs</li>' in of_partner.text


async def _pages_of_runs(browser: Browser) -> tuple[httpx.Response, httpx.Response]:
    first = await browser.get("/runs")
    address = first.text.split('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    return first, await browser.get(address.replace("&amp;", "&"))


async def test_a_forged_page_token_is_no_page(browser: Browser) -> None:
    for token in ("x", "%C3%A9", "AAAA"):
        assert (await browser.get(f"/runs?from={token}")).status_code == 404


async def test_without_search_attributes_the_page_says_what_to_do(browser: Browser) -> None:
    page = await browser.get("/")
    assert page.status_code == 503
    assert "stagehook setup" in page.text
    assert (await browser.get("/runs")).status_code == 200


async def test_without_temporal_every_list_says_so() -> None:
    async with browsing(open_console()) as browser:
        for address in ("/", "/runs", "/run?id=x"):
            page = await browser.get(address)
            assert page.status_code == 503
            assert "does not answer" in page.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=x", "Unknown state"),
        ("due=never", "Invalid due"),
        ("due=9999999w", "Invalid duration"),
        ("state=%3Cscript%3E", "&lt;script&gt;"),
    ],
)
async def test_an_invalid_filter_is_named(query: str, said: str) -> None:
    async with browsing(open_console()) as browser:
        page = await browser.get(f"/?{query}")
    assert page.status_code == 400
    assert said in page.text
    assert "<script>" not in page.text


@pytest.mark.parametrize("query", ["status=x", "since=x", "failed_with=x", "failed_with=x&since=1d&partner=y"])
async def test_an_invalid_filter_of_runs_is_named(query: str) -> None:
    async with browsing(open_console()) as browser:
        page = await browser.get(f"/runs?{query}")
    assert (page.status_code, page.text.count('role="alert"')) == (400, 1)


async def test_failed_runs_are_found_by_their_failure(real: WorkflowEnvironment, browser: Browser) -> None:
    async with working(real.client, ScriptedPartner()):
        await start(real.client, stage(1, timeout=0.2), id=HOSTILE)
        page = await until_page(
            browser,
            "/runs?since=1d&failed_with=NO+CALLBACK",
            lambda page: "1 of 1 failed runs" in " ".join(page.text.split()),
        )
        assert "onerror" in page.text
        assert "<img" not in page.text
        assert "\u202e" not in page.text
        none = await browser.get("/runs?since=1d&failed_with=unheard-of")
    assert "0 of 1 failed runs" in " ".join(none.text.split())
