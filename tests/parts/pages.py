"""The pages of the documentation: their text, and the commands and code on them."""

from __future__ import annotations

import re
from pathlib import Path

from workflows.contract import StageCall

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {page.stem: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}
EVENT_BASED, REPLAY, RELIABILITY, ADDING, HTTP, OPERATING = (
    PAGES[name] for name in ("event-based", "replay", "reliability", "partners", "http", "operating")
)
FIRST_STEPS, PIPELINES, PARTNER_FILE, SIGNATURES = (
    PAGES[name] for name in ("first-steps", "pipelines", "partner-file", "signatures")
)
KIND_ONE = "Kind one: a URL for each call"
CALL = StageCall("run-1", "chain-1", 1, "check", "acme", 1, 1_800_000_000, 1_900_000_000, {"company": "X Ltd"})
MADE = ["make demo", "make test"]
"""Run by `.ci/run` and by readers; `make test` cannot run itself."""
MAKE = ["make", "--no-print-directory", "-C", str(ROOT)]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def heading_of(page: str, text: str) -> str:
    headings: list[str] = re.findall(r"^## (.*)$", page[: page.index(text)], re.MULTILINE)
    return headings[-1]


def python_under(page: str, heading: str) -> list[str]:
    return [block for block in blocks(page, "python") if heading_of(page, block) == heading]
