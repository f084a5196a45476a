"""A real Chromium, and pages in it that notice whatever goes wrong on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(__file__).parents[1] / "browser" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

NOTICE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""

RUN_AXE = """
async (rules) => (await axe.run(document, {runOnly: rules})).violations.map((one) => (
    `${one.id}: ${one.help}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`
))
"""

SIDEWAYS = """
() => {
    const most = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= most) return [];
    const wide = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > most + 1);
    return wide.map((one) => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`);
}
"""


@dataclass
class Watched:
    """A page, and what went wrong on it: messages of the browser, errors of scripts, requests to other hosts.

    page: playwright's page. base: the console's address.
    """

    page: Any
    base: str
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        host = urlsplit(self.base).netloc

        def notice(request: Any) -> None:
            if urlsplit(request.url).netloc != host:
                self.troubles.append(f"request to {request.url}")

        def refuse(dialog: Any) -> None:
            self.troubles.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        self.page.on("console", lambda message: self.troubles.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("dialog", refuse)
        self.page.on("request", notice)

    def open(self, path: str, status: int = 200) -> Any:
        """Open a page of the console, and return playwright's page."""
        response = self.page.goto(f"{self.base}{path}")
        assert response.status == status, self.page.content()[:2000]
        if status >= 400:  # the browser says so in its console
            self.troubles = [said for said in self.troubles if f"status of {status}" not in said]
        return self.page

    def check(self) -> None:
        """Fail if anything has gone wrong, or the page's policy was violated."""
        assert self.page.evaluate("() => window.violations || []") == []
        assert self.troubles == []

    def look(self, width: int, *, dark: bool) -> None:
        """Show the page in a window of this width, in light or dark colours."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")

    def axe(self) -> list[str]:
        """What axe finds on the page."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text("utf-8"))
        found: list[str] = self.page.evaluate(RUN_AXE, RULES)
        return found

    def sideways(self) -> list[str]:
        """The elements that are wider than the window, if the page scrolls sideways."""
        found: list[str] = self.page.evaluate(SIDEWAYS)
        return found


LOOKS = [(width, dark) for width in (1280, 320) for dark in (False, True)]


def check_looks(visited: Watched, name: str, pictures: Path) -> None:
    """Fail unless the page is accessible and fits, wide and narrow, light and dark. Pictures go to the folder."""
    for width, dark in LOOKS:
        visited.look(width, dark=dark)
        visited.page.screenshot(path=pictures / f"{name}-{width}{'-dark' if dark else ''}.png", full_page=True)
        assert (width, dark, visited.axe()) == (width, dark, [])
        assert (width, visited.sideways()) == (width, [])
    visited.check()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright's, which is Debian's package or what CHROMIUM names."""
    from playwright.sync_api import sync_playwright

    path = environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert path, f"none of {', '.join(NAMES)} is installed: `make browser` installs one"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def new_context(browser: Any, *, width: int = 1280, dark: bool = False, scripts: bool = True, **options: Any) -> Any:
    """A browser's context: its window and its cookies."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
        reduced_motion="reduce",
        **options,
    )
    context.set_default_timeout(30_000)
    context.add_init_script(NOTICE_VIOLATIONS)
    return context
