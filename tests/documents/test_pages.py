"""The pages of the documentation are short, linked, and lead somewhere."""

from __future__ import annotations

import json
import re

import pytest

from receiver.answers import Verdict
from tests.parts.pages import HTTP, MADE, PAGES, README, ROOT, commands


def test_a_newcomer_reads_no_more_than_200_lines_first() -> None:
    assert len(README.splitlines()) <= 200


def test_every_page_is_linked_and_its_commands_are_run() -> None:
    assert {f"docs/{name}.md" for name in PAGES} <= set(re.findall(r"\]\((docs/[^)#]+)", README))
    run = {"event-based", "first-steps", "operating", "partners", "pipelines", "reliability", "replay", "signatures"}
    assert {name for name, page in PAGES.items() if commands(page)} == run
    assert commands(README) == MADE


def test_the_contract_for_partners_has_every_answer() -> None:
    told = set(re.findall(r"\b[2-5][0-9]{2}\b", HTTP.partition("## What we answer")[2].partition("## Duplicates")[0]))
    assert {str(verdict.status) for verdict in Verdict if verdict is not Verdict.GREETED} <= told


def test_the_deploy_button_asks_for_known_settings() -> None:
    app = json.loads((ROOT / "app.json").read_text())
    described = re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    named = re.findall(r"\b[A-Z]+_[A-Z_]+\b", (ROOT / ".env.example").read_text())
    assert app["addons"] == ["heroku-postgresql"]
    assert set(app["env"]) <= {*described, *named}
    assert set(app["formation"]) == {"web", "worker"}


ROOT_PAGES = ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")


@pytest.mark.parametrize("name", [*ROOT_PAGES, *PAGES])
def test_links_into_the_project_lead_somewhere(name: str) -> None:
    folder = ROOT if name in ROOT_PAGES else ROOT / "docs"
    page = (folder / f"{name}.md").read_text()
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose) if "://" not in link]
    assert [link for link in links if not (folder / link.partition("#")[0]).exists()] == []


def test_the_rooms_of_the_architecture_exist() -> None:
    rooms, deliveries = (ROOT / "docs/architecture.md").read_text().split("\nThe store of deliveries, ")
    paths = [ROOT / path for path in paths_in_first_columns(rooms)]
    paths += [ROOT / "receiver/deliveries" / path for path in paths_in_first_columns(deliveries)]
    assert len(paths) > 60
    assert [str(path) for path in paths if not path.exists()] == []


def paths_in_first_columns(page: str) -> list[str]:
    """The paths in a page's tables; `receiver/{a,b}.py` is two."""
    written = [path for row in re.findall(r"^\| ([^|]*`[^|]*) \|", page, re.MULTILINE) for path in row.split(", ")]
    paths = [path.strip("`") for path in written if path.endswith((".py`", "/`"))]
    return [re.sub(r"{.*}", name, path) for path in paths for name in re.sub(r".*{(.*)}.*|.*", r"\1", path).split(",")]
