"""The console by keyboard alone: Tab reaches each control in order, with a visible focus, and Enter uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.parts.browsers import Watched, new_context
from tests.parts.console_systems import CONSOLE_PAGES, STATUSES, ConsoleSystem

pytestmark = pytest.mark.browser

MARK_CONTROLS = """
() => {
    const controls = document.querySelectorAll(
        "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']");
    const seen = [...controls].filter((one) => one.checkVisibility({contentVisibilityAuto: true}));
    const look = (one) => {
        const style = getComputedStyle(one);
        return [style.outlineStyle, style.outlineWidth, style.outlineColor, style.boxShadow].join(" ");
    };
    window.lookOf = look;
    seen.forEach((one, place) => { one.dataset.place = place; one.dataset.look = look(one); });
    document.activeElement.blur();
    return seen.length;
}
"""

FOCUSED = """
() => {
    const one = document.activeElement;
    const box = one.getBoundingClientRect();
    const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    return [one.dataset.place, lookOf(one) !== one.dataset.look, inside, one.outerHTML.slice(0, 120)];
}
"""


@pytest.mark.parametrize("name", CONSOLE_PAGES)
def test_tab_reaches_each_control_in_order(name: str, visitor: Callable[..., Watched], console: ConsoleSystem) -> None:
    visited = visitor(width=320)
    page = visited.open(console.path(name), STATUSES.get(name, 200))
    count = page.evaluate(MARK_CONTROLS)
    assert count > 5
    for place in range(count):
        page.keyboard.press("Tab")
        reached, is_shown, is_inside, control = page.evaluate(FOCUSED)
        assert (reached, is_shown, is_inside) == (str(place), True, True), control
    visited.check()


def press(page: Any, role: str, name: str) -> None:
    """Go to a control by Tab, and press Enter."""
    wanted = page.get_by_role(role, name=name, exact=True).first
    wanted.wait_for()
    go_to(page, wanted)
    page.keyboard.press("Enter")


def go_to(page: Any, wanted: Any) -> None:
    """Go to a control by Tab."""
    page.evaluate("() => document.activeElement.blur()")
    for _ in range(200):
        page.keyboard.press("Tab")
        if wanted.evaluate("(one) => one === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {wanted}")


def write(page: Any, label: str, text: str) -> None:
    """Go to a field by Tab, and type into it."""
    go_to(page, page.get_by_label(label, exact=True))
    page.keyboard.type(text)


def test_a_person_signs_in_and_out_by_keyboard(browser: Any, console: ConsoleSystem) -> None:
    context = new_context(browser)
    visited = Watched(context.new_page(), console.base)
    page = visited.open("/deliveries")
    write(page, "Your name, for the runs' ledgers", "grace")
    write(page, "Password", console.password)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Deliveries", exact=True).wait_for()
    assert page.get_by_text("You are grace").is_visible()
    press(page, "button", "Sign out")
    page.get_by_role("heading", name="Sign in").wait_for()
    visited.check()
    context.close()


def test_the_skip_link_leads_to_the_content(visitor: Callable[..., Watched]) -> None:
    visited = visitor()
    page = visited.open("/deliveries")
    press(page, "link", "Skip to the content")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('main') !== null")


def test_deliveries_are_chosen_and_opened_by_keyboard(visitor: Callable[..., Watched], console: ConsoleSystem) -> None:
    visited = visitor()
    page = visited.open("/deliveries")
    go_to(page, page.get_by_text("Verdicts", exact=True))
    page.keyboard.press("Enter")
    go_to(page, page.get_by_label("unproven", exact=True))
    page.keyboard.press("Space")
    write(page, "Partner", "bank")
    page.keyboard.press("Enter")
    press(page, "link", console.ids["verdict-unproven"])
    page.get_by_role("heading", name="How it was judged").wait_for()
    visited.check()


def test_a_partner_is_paused_and_resumed_by_keyboard(visitor: Callable[..., Watched]) -> None:
    visited = visitor()
    page = visited.open("/partners")
    go_to(page, page.locator("summary", has_text="Pause esign"))
    page.keyboard.press("Enter")
    field = page.locator("li", has=page.get_by_role("heading", name="esign")).get_by_label("Reason", exact=True)
    go_to(page, field)
    page.keyboard.type("it is being repaired")
    press(page, "button", "Pause esign")
    page.get_by_text("Paused: no call to esign begins until it is resumed.").wait_for()
    write(page, "Reason to resume esign", "it is repaired")
    page.keyboard.press("Enter")
    page.get_by_text("Resumed: calls to esign begin again.").wait_for()
    visited.check()
