"""Every button, with scripts and without: it does what it says, once, and its result is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.parts.browsers import Watched
from tests.parts.console_systems import ConsoleSystem

pytestmark = pytest.mark.browser

both_ways = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])


@pytest.fixture
def page(visitor: Callable[..., Watched], scripts: bool) -> Any:
    visited = visitor(scripts=scripts)
    yield visited
    if scripts:
        visited.check()


def order(page: Watched, name: str, run: str, stage: int, **fields: str) -> None:
    """Give an order by its form, which the run's page leads to."""
    shown = page.open(f"/run?id={run}")
    label = name if not stage else f"{name} stage {stage}"
    shown.get_by_role("link", name=label, exact=True).click()
    for field, text in fields.items():
        shown.get_by_label(field.replace("_", " ")).fill(text)
    shown.get_by_label("Reason").fill(f"to try {name}")
    shown.get_by_role("button", name=label, exact=True).click()


@both_ways
@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("Extend", {"By_how_long": "2h"}, "Stage {stage}:"),
        ("Call again", {}, "Stage {stage}:"),
    ],
)
def test_an_order_is_given(
    name: str, fields: dict[str, str], says: str, page: Watched, scripts: bool, console: ConsoleSystem
) -> None:
    run = console.start("to-operate")
    order(page, name, run, 1, **fields)
    page.page.get_by_text(says.format(stage=1)).wait_for()
    assert page.page.locator(".ledger").get_by_text(f"to try {name}").count() > 0


@both_ways
def test_orders_that_end_something(page: Watched, scripts: bool, console: ConsoleSystem) -> None:
    run = console.start("to-end")
    for stage, (name, fields) in enumerate((("Succeed", {"Data": "{}"}), ("Skip", {}), ("Advance", {})), start=1):
        order(page, name, run, stage, **fields)
        page.page.locator(".notice").get_by_text(f"tage {stage}").or_(page.page.get_by_text("Sent:")).wait_for()
        console.wait_until_called(run, stage + 1)
    shown = page.open(f"/run?id={run}").locator(".ledger")
    assert shown.get_by_text("advance, by ada: to try Advance").count() == 1
    order(page, "Fail", run, 4)
    page.page.locator(".notice").wait_for()
    console.wait_for_status(run, "failed")
    order(page, "Resume the run", run, 0)
    page.page.get_by_text("Resumed: the run goes on").wait_for()
    console.wait_until_called(run, 4)
    order(page, "Cancel the run", run, 0)
    page.page.get_by_text("Sent: the run is asked to end.").wait_for()
    console.wait_for_status(run, "canceled")


@both_ways
def test_a_delivery_is_released(page: Watched, scripts: bool, console: ConsoleSystem) -> None:
    shown = page.open(f"/delivery?id={console.ids['taken']}")
    shown.get_by_label("Reason for the release").fill("the run was reset")
    shown.get_by_role("button", name="Release").click()
    shown.get_by_text("Released: it is queued again").wait_for()
    console.wait_until_taken(console.ids["taken"])  # as the other tests expect it


@both_ways
def test_a_delivery_is_replayed(page: Watched, scripts: bool, console: ConsoleSystem) -> None:
    shown = page.open(f"/delivery?id={console.ids['taken']}")
    shown.get_by_label("Reason for the replay").fill("to see it again")
    shown.get_by_role("button", name="Replay").click()
    shown.get_by_role("heading", name="Replay").wait_for()
    shown.get_by_role("button", name="Replay it").click()
    shown.get_by_text(re.compile("Sent again: answered (202|410) now, 202 at capture.")).wait_for()


@both_ways
def test_a_curl_line_is_shown(page: Watched, scripts: bool, console: ConsoleSystem) -> None:
    shown = page.open(f"/delivery?id={console.ids['taken']}")
    token = re.compile(r"/callbacks/[.A-Za-z0-9_-]{40}")
    assert not token.search(shown.content())
    shown.get_by_role("button", name="Show the curl line").click()
    shown.get_by_role("heading", name="curl for").wait_for()
    assert token.search(shown.locator("pre").inner_text())


@both_ways
def test_older_deliveries_are_a_page_away(page: Watched, scripts: bool, console: ConsoleSystem) -> None:
    console.add_deliveries(60, partner="idcheck")
    shown = page.open("/deliveries?partner=idcheck")
    newest = shown.locator("tbody th a").first.inner_text()
    seen = set(shown.locator("tbody th a").all_inner_texts())
    shown.get_by_role("link", name="Older").click()
    shown.get_by_role("link", name="Newest").wait_for()
    assert seen.isdisjoint(shown.locator("tbody th a").all_inner_texts())
    shown.get_by_role("link", name="Newest").click()
    shown.get_by_text("The newest deliveries").wait_for()
    assert shown.locator("tbody th a").first.inner_text() == newest


@both_ways
def test_a_reason_is_required(page: Watched, scripts: bool, console: ConsoleSystem) -> None:
    shown = page.open(f"/delivery?id={console.ids['taken']}")
    shown.get_by_label("Reason for the release").fill("   ")
    shown.get_by_role("button", name="Release").click()
    shown.get_by_text("The reason has 0 characters: use 1 to 300.").wait_for()
    page.troubles = [said for said in page.troubles if "422" not in said]


def test_a_live_page_is_read_again(visitor: Callable[..., Watched], console: ConsoleSystem) -> None:
    visited = visitor()
    page = visited.open("/deliveries?partner=payments")
    page.get_by_text("No delivery matches.").wait_for()
    console.add_deliveries(1, partner="payments")
    page.locator("tbody th a").wait_for()
    visited.check()


def test_a_live_page_keeps_what_is_typed(visitor: Callable[..., Watched]) -> None:
    visited = visitor()
    page = visited.page
    page.clock.install()
    visited.open("/deliveries")
    page.get_by_label("Partner").fill("ban")
    page.get_by_label("Partner").blur()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(60_000)
    assert (asked, page.get_by_label("Partner").input_value()) == ([], "ban")
    visited.check()
