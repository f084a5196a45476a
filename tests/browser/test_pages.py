"""Every page: accessible, within the window, in light and dark colours, and with no complaint of the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts.browsers import Watched, check_looks, new_context
from tests.parts.console_systems import CONSOLE_PAGES, HOSTILE_BODIES, STATUSES, ConsoleSystem

pytestmark = pytest.mark.browser

WIDE = "w" * 4000

WRONG: dict[str, tuple[str, int]] = {
    "no-such-page": ("/nowhere", 404),
    "no-such-delivery": (f"/delivery?id={WIDE}", 404),
    "no-such-run": ("/run?id=nothing", 404),
    "wrong-status": ("/runs?status=wrong", 400),
    "wrong-state": ("/?state=wrong", 400),
    "wrong-filters": (f"/deliveries?since={WIDE}&stage=x&fate=y&verdict=z&before=q", 400),
}


@pytest.mark.parametrize("name", CONSOLE_PAGES)
def test_a_page_is_accessible_and_fits(
    name: str, visitor: Callable[..., Watched], console: ConsoleSystem, pictures: Path
) -> None:
    visited = visitor()
    visited.open(console.path(name), STATUSES.get(name, 200))
    check_looks(visited, name, pictures)


@pytest.mark.parametrize("name", WRONG)
def test_a_page_of_a_problem_too(name: str, visitor: Callable[..., Watched], pictures: Path) -> None:
    visited = visitor()
    visited.open(*WRONG[name])
    check_looks(visited, name, pictures)


def test_the_page_to_sign_in_too(browser: object, console: ConsoleSystem, pictures: Path) -> None:
    context = new_context(browser)
    visited = Watched(context.new_page(), console.base)
    visited.open("/")
    check_looks(visited, "sign-in", pictures)
    context.close()


@pytest.mark.parametrize("name", [*HOSTILE_BODIES, "gzip", "not-gzip", "headers", "reason"])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (320, True)])
def test_what_a_partner_wrote_is_text(
    name: str, width: int, dark: bool, visitor: Callable[..., Watched], console: ConsoleSystem, pictures: Path
) -> None:
    visited = visitor(width=width, dark=dark)
    page = visited.open(f"/delivery?id={console.ids[name]}")
    page.screenshot(path=pictures / f"body-{name}-{width}{'-dark' if dark else ''}.png", full_page=True)
    assert visited.axe() == []
    assert visited.sideways() == []
    assert page.locator("main script, main style, main img, main meta").count() == 0
    assert page.get_by_role("heading", name="Body").is_visible()
    visited.check()


@pytest.mark.parametrize("name", ["waiting", "run", "delivery", "partners"])
def test_the_pictures_of_the_docs(
    name: str, visitor: Callable[..., Watched], console: ConsoleSystem, docs_pictures: Path
) -> None:
    paths = {
        "waiting": "/?pipeline=onboarding",
        "run": "/run?id=customer-1042",
        "delivery": f"/delivery?id={console.ids['onboarding']}",
        "partners": "/partners",
    }
    visited = visitor(width=1100)
    page = visited.open(paths[name])
    page.set_viewport_size({"width": 1100, "height": 720})
    page.screenshot(path=docs_pictures / f"console-{name}.png")
    visited.check()


SPOIL = """
() => {
    const picture = document.createElement("img");
    picture.src = "https://elsewhere.example/x.png";
    const wide = document.createElement("div");
    wide.style.setProperty("width", "5000px");
    wide.textContent = "wide";
    document.querySelector("main").append(picture, wide);
}
"""


def test_a_spoiled_page_is_noticed(visitor: Callable[..., Watched]) -> None:
    """A control: what the other tests look for is found where it is."""
    visited = visitor()
    page = visited.open("/deliveries")
    page.evaluate(SPOIL)
    page.wait_for_function("() => window.violations.length > 0")
    assert any("image-alt" in found for found in visited.axe())
    assert visited.sideways() != []
    assert any("Content Security Policy" in said for said in visited.troubles)
    with pytest.raises(AssertionError):
        visited.check()
