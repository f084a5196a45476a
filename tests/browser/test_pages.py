"""Every page: complete, accessible, within the window, and with no complaint of the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.parts.browsers import Watched
from tests.parts.console_systems import ConsoleSystem

pytestmark = pytest.mark.browser

LOOKS = [(width, dark) for width in (1280, 320) for dark in (False, True)]

PAGES: dict[str, str] = {
    "waiting": "/",
    "deliveries": "/deliveries",
    "deliveries-filtered": "/deliveries?verdict=unproven&verdict=gone&refused=1&since=2h&partner=bank",
    "deliveries-none": "/deliveries?partner=nobody",
}
"""The pages by name. `{ID}` is the id of the delivery of that name."""

DELIVERIES = (
    "verdict-accepted",
    "verdict-unproven",
    "verdict-unknown",
    "fate-parked",
    "markup",
    "not-utf-8",
    "gzip",
    "headers",
    "reason",
    "taken",
)


def open_page(visited: Watched, name: str, system: ConsoleSystem) -> None:
    path = PAGES.get(name) or f"/delivery?{urlencode({'id': system.ids[name]})}"
    visited.open(path)


@pytest.mark.parametrize(("width", "dark"), LOOKS)
@pytest.mark.parametrize("name", [*PAGES, *DELIVERIES])
def test_a_page_is_accessible_and_fits(
    name: str, width: int, dark: bool, visitor: Callable[..., Watched], console: ConsoleSystem, pictures: Path
) -> None:
    visited = visitor(width=width, dark=dark)
    open_page(visited, name, console)
    visited.page.screenshot(path=pictures / f"{name}-{width}{'-dark' if dark else ''}.png", full_page=True)
    assert visited.axe() == []
    assert visited.sideways() == []
    visited.check()
