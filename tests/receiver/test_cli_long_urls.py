"""Partners that take only short callback URLs: a run whose URLs would be too long is refused before it is started."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.partner import Partner
from receiver.cli.doctor.checks import _partners
from receiver.settings import WebSettings
from tests.commands import Done, command
from tests.parts.partner_list import list_only
from tests.support import KEY
from workflows.contract import Pipeline, Stage

NOWHERE = "127.0.0.1:9"
"""No Temporal listens here: a command that gets as far as starting the run exits with 7."""

START = ("pipeline", "start", "narrow", "--id", "customer-7")
NARROW = Pipeline("narrow", [Stage(1, "first", "bank", 60.0)])
ENVIRONMENT = {"PUBLIC_URL": "http://127.0.0.1:8000", "SANDBOX_URL": "http://127.0.0.1:8090", "PARTNERS": "bank"}


def narrow(env: Environment) -> Partner:
    """A partner that takes a short token, and no long one, from the run `customer-7`."""
    return replace(sandbox.partner("bank", env), longest_url=140)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    list_only(monkeypatch, {"bank": narrow})
    for place in ("receiver.cli.pipeline.starting", "receiver.cli.doctor.checks"):
        monkeypatch.setattr(f"{place}.PIPELINES", {"narrow": NARROW})
    monkeypatch.setattr("workflows.pipelines.PIPELINES", {"narrow": NARROW})


def start(*words: str, **env: Any) -> Done:
    return command(*START, *words, TEMPORAL_ADDRESS=NOWHERE, **{**ENVIRONMENT, **env})


@pytest.mark.parametrize(
    ("words", "env"), [((), {}), (("--for-older-workers",), {"TOKEN_VERSION": "2"})], ids=["long", "for older workers"]
)
def test_a_run_whose_urls_are_too_long_is_not_started(words: tuple[str, ...], env: dict[str, Any]) -> None:
    done = start(*words, **env)
    assert done.code == 2
    assert "stage 1 first: partner bank: its callback URL has" in done.err
    assert "and it takes 140 (longest_url)" in done.err
    assert "try: start runs with a shorter id, or with TOKEN_VERSION=2" in done.err


@pytest.mark.parametrize(
    "env", [{"TOKEN_VERSION": "2"}, {"PUBLIC_URL": ""}], ids=["with short tokens", "without an address to measure"]
)
def test_other_runs_are(env: dict[str, Any]) -> None:
    assert start(**env).code == 7


def test_a_wrong_token_version_starts_nothing() -> None:
    done = start(TOKEN_VERSION="3")
    assert (done.code, "TOKEN_VERSION is not a number from 1 to 2" in done.err) == (2, True)


@pytest.mark.parametrize(("version", "ok"), [("1", [True, False]), ("2", [True])])
def test_doctor_tells_which_pipelines_have_too_long_urls(version: str, ok: list[bool]) -> None:
    web = WebSettings.from_env({**ENVIRONMENT, "CALLBACK_KEYS": KEY, "TOKEN_VERSION": version})
    found = list(_partners(web.shared))
    assert [finding.ok for finding in found] == ok
    assert all("pipeline narrow" in finding.says for finding in found)
