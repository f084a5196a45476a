"""Code on the pages is sound, and the pages of stages and pipelines explain every field."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
import types
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import http_client
from activities.partners.partner import idempotency_key
from tests.parts.certificates import HERE, issue
from tests.parts.pages import CALL, PAGES, PARTNER_FILE, PIPELINES, README, ROOT, blocks, python_under
from tests.parts.partner_servers import forward_proxy, partner_server, tls
from tests.parts.temporal import BINARIES
from tests.support import KEY
from workflows.checking import pipeline_faults
from workflows.contract import Action, Pipeline, Policy, Stage
from workflows.durations import DAY, HOUR


@pytest.mark.parametrize(
    ("page", "heading"),
    [("partner-file", "Add a partner"), ("partners", "Kind two: one URL, and our text comes back")],
)
def test_a_whole_partners_file_passes_our_own_checks(page: str, heading: str, tmp_path: Path) -> None:
    file = python_under(PAGES[page], heading)[0]
    (tmp_path / "acme.py").write_text(file)
    config = ["--config", str(ROOT / "pyproject.toml")]
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [str(BINARIES / "ruff"), *check, *config, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_the_readmes_pipeline_is_sound() -> None:
    [block] = python_under(README, "A pipeline and its partners")
    names = {"Pipeline": Pipeline, "Stage": Stage, "HOUR": HOUR, "DAY": DAY}
    exec(block, names)
    refund = names["REFUND"]
    assert isinstance(refund, Pipeline)
    assert list(pipeline_faults(refund)) == []


@pytest.mark.parametrize(
    "block", blocks(PAGES["stages"], "python"), ids=lambda block: str(block).split("=")[-1].strip()
)
def test_the_definitions_to_copy_are_sound(block: str) -> None:
    stage = eval(block, {"Stage": Stage, "HOUR": HOUR, "DAY": DAY})
    assert list(pipeline_faults(Pipeline("copied", [replace(stage, number=1)]))) == []


def test_the_page_of_stages_explains_every_policy_and_command() -> None:
    page = PAGES["stages"]
    assert re.findall(r"^\*\*`([a-z]+)`\*\*", page, re.MULTILINE) == list(get_args(Policy))
    assert {f"stagehook pipeline {action} RUN STAGE" in page for action in get_args(Action)} == {True}


def test_the_page_of_pipelines_explains_every_field_of_a_stage() -> None:
    explained = re.findall(r"^\| `([a-z_]+)` \|", PIPELINES, re.MULTILINE)
    assert explained == [field.name for field in fields(Stage)]


async def test_the_partners_file_passes_the_test_on_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    file, imported, line = python_under(PARTNER_FILE, "Add a partner")
    assert (imported.strip(), line.strip()) == (
        "from activities.partners import acme, bank, cards, esign, idcheck, identity, payments, sandbox",
        '"acme": acme.partner,',
    )
    acme = types.ModuleType("activities.partners.acme")
    exec(file, vars(acme))
    monkeypatch.setitem(sys.modules, "activities.partners.acme", acme)
    monkeypatch.setattr("activities.partners.acme", acme, raising=False)
    [tests] = python_under(PARTNER_FILE, "Test a partner with respx")
    found: dict[str, object] = {}
    exec(tests, found)
    ran = 0
    for name, test in found.items():
        if name.startswith("test_") and callable(test):
            answer = test()
            if inspect.isawaitable(answer):
                await asyncio.wait_for(answer, 10)
            ran += 1
    assert ran == 2


async def test_the_page_on_calling_out_has_a_file_that_calls(tmp_path: Path) -> None:
    [block] = python_under(PARTNER_FILE, "Tokens, certificates and proxies")
    file: dict[str, Any] = {}
    exec(block, file)
    authority = issue("ca")
    theirs, (certificate, key) = issue("acme", authority, hosts=HERE), issue("ours", authority).saved(tmp_path, "ours")
    with partner_server(tls(tmp_path, theirs, authority)) as server, forward_proxy() as proxy:
        given = {"URL": server.url, "CLIENT_ID": "us", "CLIENT_SECRET": "a-client-secret", "SECRET": "shared-with-acme"}
        way = {"CLIENT_CERT": str(certificate), "CLIENT_KEY": str(key), "CA_CERT": authority.pem.decode()}
        variables = {**given, **way, "PROXY_URL": proxy.url}
        environment = Environment({f"ACME_{name}": value for name, value in variables.items()})
        acme = file["partner"](environment)
        environment.check()
        async with http_client() as http:
            calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"acme": acme})
            receipt = await ActivityEnvironment().run(calls.call_partner, CALL)
    assert receipt.reference == "w-1"
    assert (len(server.tokens), len(server.calls), len(proxy.asked)) == (1, 1, 2)
    assert server.calls[0]["x-request-id"] == idempotency_key(CALL)
