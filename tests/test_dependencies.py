"""What is built on: the Pythons, the licences, and the audit of what is locked."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CI = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in range(35, 4, -1)),
    "manylinux2014_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
]
PERMISSIVE = re.compile(
    r"MIT( License|-0)?|Apache[- ]2\.0|Apache Software License|(3-Clause )?BSD( License|-[23]-Clause)?|PSF(L|-2\.0)"
    r"|Python Software Foundation License"
)


@cache
def locked() -> dict[str, dict[str, Any]]:
    """The packages of uv.lock by name. Not read at import: every process of the tests imports this."""
    return {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}


def tags_of(python: str) -> set[Tag]:
    """What an interpreter of this version on x86-64 Linux can install."""
    version = tuple(map(int, python.split(".")))
    return {
        *cpython_tags(version, [f"cp{python.replace('.', '')}"], PLATFORMS),
        *compatible_tags(version, f"cp{python.replace('.', '')}", PLATFORMS),
    }


def without_wheel(python: str) -> list[str]:
    """The locked packages, those for development too, that would have to be built."""
    tags = tags_of(python)
    return [
        name
        for name, package in locked().items()
        if "editable" not in package["source"]
        and not any(tags & parse_wheel_filename(name_of(wheel))[3] for wheel in package.get("wheels", ()))
    ]


def name_of(wheel: dict[str, str]) -> str:
    return wheel["url"].rpartition("/")[2]


def needed(name: str, extras: tuple[str, ...] = ()) -> Iterator[str]:
    """What is installed with a locked package, the package included."""
    package = locked()[name]
    yield name
    lists = [package.get("dependencies", [])]
    lists += [package.get("optional-dependencies", {}).get(extra, []) for extra in extras]
    for one in (one for listed in lists for one in listed):
        yield from needed(one["name"], tuple(one.get("extra", ())))


def licence_of(name: str) -> str:
    about = metadata.metadata(name)
    classified = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier", []) if one.startswith("License ::")]
    return about["License-Expression"] or about["License"] or " AND ".join(classified)


def is_permissive(licence: str) -> bool:
    return all(PERMISSIVE.fullmatch(part.strip()) for part in re.split(r" AND | OR ", licence))


# --- Pythons


def test_the_named_python_is_the_newest_with_every_wheel() -> None:
    python = (ROOT / ".python-version").read_text().strip()
    major, minor = python.split(".")
    assert without_wheel(python) == []
    assert without_wheel(f"{major}.{int(minor) + 1}") != []


def test_ci_runs_the_oldest_python_and_the_named_one() -> None:
    [oldest] = [one.version for one in SpecifierSet(PROJECT["requires-python"])]
    newest = (ROOT / ".python-version").read_text().strip()
    assert re.findall(r"python: (\[.*\])", CI) == [f'["{oldest}", "{newest}"]']
    classified = {one.rpartition(" :: ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one}
    minors = range(int(oldest.split(".")[1]), int(newest.split(".")[1]) + 1)
    assert classified == {f"3.{minor}" for minor in minors}


def test_uvicorn_stays_below_the_next_release_with_other_parts() -> None:
    """Its HTTP protocol, which ours subclasses, is private."""
    [uvicorn] = [one for one in map(Requirement, PROJECT["dependencies"]) if one.name == "uvicorn"]
    assert uvicorn.specifier.contains(Version("0.54.9"))
    assert not uvicorn.specifier.contains(Version("0.55.0"))


# --- licences


def test_the_readme_names_each_licence_that_is_not_permissive() -> None:
    used = {name: licence_of(name) for name in set(needed("stagehook")) - {"stagehook"} if installed(name)}
    assert "psycopg" in used
    [sentence] = re.findall(r"^Not permissive .*?:\n(.*?)\n\n", (ROOT / "README.md").read_text() + "\n", re.M | re.S)
    named = dict(re.findall(r"`([a-z-]+)` \(([^)]+)\)", sentence))
    assert named == {name: licence for name, licence in used.items() if not is_permissive(licence)}


def installed(name: str) -> bool:
    """Not so where the lock has a package for another system alone."""
    try:
        return bool(metadata.version(name) == locked()[name]["version"])
    except metadata.PackageNotFoundError:
        return False


# --- the audit


@pytest.mark.parametrize(
    ("code", "said", "ends"),
    [
        (0, "Found no known vulnerabilities", 0),
        (1, "httpx 0.28.1 has 1 known vulnerability", 1),
        (2, "error: Request failed after 3 retries\n  cause: error sending request for url (...)", 0),
        (2, "error: uv.lock cannot be parsed", 2),
    ],
)
def test_only_a_network_that_is_away_excuses_the_audit(code: int, said: str, ends: int, tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {code}\n")
    uv.chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", ROOT / ".ci" / "audit"], env={**os.environ, "UV": str(uv)}, capture_output=True, text=True
    )
    assert done.returncode == ends
    assert said in done.stdout
    assert ("::warning::" in done.stdout) is (code == 2 and ends == 0)


def test_the_public_ci_runs_the_audit() -> None:
    assert "- run: make audit" in CI
    made = subprocess.run(["make", "-n", "audit"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "bash .ci/audit" in made
