"""The list of our variables: the code reads these and no others, and .env.example, app.json and the docs know them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from activities.partners import PARTNERS
from activities.variables import PLATFORM_VARIABLES, VARIABLES

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / ".env.example").read_text()
NAMED_BY_PARTNERS = tuple(f"{name.upper()}_" for name in PARTNERS)
NO_SETTINGS = {"STAGEHOOK_TRACEBACK", "XDG_CACHE_HOME", "SSL_CERT_FILE"}
"""Variables of the command line and of OpenSSL, which no deployment sets."""

READ = re.compile(r'\b(?:env|environ)\.(?:get|text|secret|optional|url|names|number|switch)\(\s*"([A-Z_]+)"')


def of_others(name: str) -> bool:
    """Whether the variable is Temporal's own, or a partner's."""
    return name.startswith(("TEMPORAL_", *NAMED_BY_PARTNERS))


def test_the_code_reads_the_variables_of_the_list_and_no_others() -> None:
    files = [file for room in ("activities", "receiver") for file in (ROOT / room).rglob("*.py")]
    read = {name for file in files for name in READ.findall(file.read_text())}
    assert {name for name in read if not of_others(name)} - NO_SETTINGS == set(VARIABLES)


def test_the_example_has_every_variable_and_no_unknown_one() -> None:
    named = set(re.findall(r"\b[A-Z]+_[A-Z_]*[A-Z]\b|^#? ?[A-Z]+(?==)", EXAMPLE, re.MULTILINE))
    named = {name.removeprefix("# ") for name in named}
    assert set(VARIABLES) - named == set()
    assert {name for name in named if not of_others(name)} - set(VARIABLES) == set()


def test_app_json_describes_variables_as_the_list_does() -> None:
    asked = json.loads((ROOT / "app.json").read_text())["env"]
    ours = {name: asked[name]["description"] for name in asked if not of_others(name)}
    assert ours == {name: f"{VARIABLES[name][0].upper()}{VARIABLES[name][1:]}." for name in ours}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem
)
def test_a_page_names_no_unknown_variable(page: Path) -> None:
    """ACME is the partner that the pages add; NOT_OURS and WORKFLOW_TYPES are names in code."""
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=[^`]*)?`", page.read_text()))
    unknown = {name for name in named if not of_others(name) and not name.startswith("ACME_")}
    assert unknown - set(VARIABLES) - set(PLATFORM_VARIABLES) - NO_SETTINGS - {"NOT_OURS", "WORKFLOW_TYPES"} == set()
