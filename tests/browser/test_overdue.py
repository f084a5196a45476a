"""An overdue run is told from others: in words, and in a colour that can be read in light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parts.browsers import Watched, check_looks
from tests.parts.console_systems import ConsoleSystem

pytestmark = pytest.mark.browser

COLOURS = """
() => [".state.overdue", ".state.waiting", "tbody td"].map(
    (place) => getComputedStyle(document.querySelector(place)).color)
"""


@pytest.fixture(scope="module")
def overdue(console: ConsoleSystem) -> Iterator[str]:
    with console.overdue_run() as run:
        yield run


def wait_until_overdue(visited: Watched, path: str, run: str) -> None:
    """Open the page until it shows the run as overdue."""
    page = visited.open(path)
    shown = page.get_by_role("row").filter(has_text=run).locator(".state.overdue")
    for _ in range(60):
        if shown.count():
            return
        page.wait_for_timeout(500)
        page.reload()
    raise AssertionError(page.locator("main").inner_text())


@pytest.mark.parametrize("path", ["/", "/?overdue=1", "/?overdue=1&partner=identity"])
def test_an_overdue_run_is_accessible(path: str, visitor: Callable[..., Watched], overdue: str, pictures: Path) -> None:
    visited = visitor()
    wait_until_overdue(visited, path, overdue)
    check_looks(visited, f"overdue-{len(path)}", pictures)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_an_overdue_run_is_told_by_word_and_colour(dark: bool, visitor: Callable[..., Watched], overdue: str) -> None:
    visited = visitor(dark=dark)
    wait_until_overdue(visited, "/", overdue)
    row = visited.page.get_by_role("row").filter(has_text=overdue)
    cells = row.get_by_role("cell").all_inner_texts()
    assert cells[0] == "overdue"
    assert cells[4].endswith("s overdue"), cells
    assert len(set(visited.page.evaluate(COLOURS))) == 3
    visited.check()


def test_overdue_runs_come_before_those_in_time(visitor: Callable[..., Watched], overdue: str) -> None:
    visited = visitor()
    wait_until_overdue(visited, "/", overdue)
    states = visited.page.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert states.index("overdue") < states.index("a callback")
    assert "overdue" not in states[states.index("a callback") :]


def test_the_filter_leaves_out_runs_in_time(visitor: Callable[..., Watched], overdue: str) -> None:
    visited = visitor()
    wait_until_overdue(visited, "/?overdue=1", overdue)
    assert visited.page.get_by_text("customer-1042").count() == 0
    assert visited.page.get_by_label("Overdue", exact=True).is_checked()
