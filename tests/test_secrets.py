"""Nothing secret in anything that is written: logs, histories, query answers, error pages, command output."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from temporalio.client import Client

from activities.callback_urls import CallbackURLs, version_of
from receiver.cli.demo.running import INPUT
from tests.local_stack import Local, local_system
from workflows.contract import StageCall

PLAYS = {"identity": ["twice"], "bank": ["busy"], "esign": ["missigned"], "cards": ["forged"]}


def spellings(secret: str) -> set[str]:
    """The secret as it may turn up: plain, percent-encoded (all of it or what must be), in JSON, in base64."""
    encoded = {base64.b64encode(secret.encode()[at:]).decode().strip("=")[2:-2] for at in range(3)}
    fully = "".join(f"%{byte:02X}" for byte in secret.encode())
    return {secret, quote(secret, safe=""), secret.replace(".", "%2E"), json.dumps(secret)[1:-1], fully, *encoded}


async def read_run(address: str, workflow_id: str) -> tuple[list[StageCall], str]:
    """The run's calls, and everything that its history holds, as text."""
    client = await Client.connect(address)
    calls, text = [], ""
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        text += str(event)
        scheduled = event.activity_task_scheduled_event_attributes
        for payload in scheduled.input.payloads if scheduled.activity_type.name == "call_partner" else ():
            calls.append(client.data_converter.payload_converter.from_payload(payload, StageCall))
    return calls, text


def pages_of(http: httpx.Client, local: Local, url: str, signed: str) -> dict[str, httpx.Response]:
    """Every kind of answer, by the status that it should have; `signed` is the URL of a partner that signs."""
    return {
        "404": http.post(url[:-1], json={}),
        "409": http.post(url, json={"card": {"state": "ACTIVE", "id": "again", "last_four": "1234"}}),
        "401": http.post(signed, json={}),
        "410": http.post(url, json={"card": {"state": "PENDING"}}),
        "405": http.get(url),
        "415": http.post(url, content=b"x"),
        "422": http.post(url, content=b"{", headers={"Content-Type": "application/json"}),
        "400": http.post(url, content=b"{}", headers=[("Content-Type", "application/json")] * 2),
        "slash": http.post(url + "/", json={}),
        "metrics": http.get(f"{local.stack.public_url}/metrics"),
        "ready": http.get(f"{local.stack.public_url}/readyz"),
        "ledger": http.get(f"{local.stack.sandbox_url}/ledger"),
    }


def written_by(local: Local, run: str, url: str, signed: str) -> dict[str, str]:
    """Everything that was printed, logged or answered, by its source."""
    with httpx.Client(trust_env=False) as http:
        pages = pages_of(http, local, url, signed)
    assert {name: page.status_code for name, page in pages.items() if name.isdigit()} == {
        name: int(name) for name in pages if name.isdigit()
    }
    commands = {
        name: local.command(*args)
        for name, args in {
            "show": ("pipeline", "show", run, "--json"),
            "list": ("pipeline", "list"),
            "watch": ("pipeline", "watch", run),
            "inspect": ("token", "inspect", url, "--json"),
            "bad token": ("token", "inspect", url[:-1]),
            "keys": ("key", "list"),
            "doctor": ("doctor",),
            "send": ("partner", "send", signed),
            "undo": ("partner", "undo", run, "4", "--yes", "--json"),
            "deliveries": ("delivery", "list", "--json"),
            "export": ("delivery", "export", "--full"),
            "check": ("delivery", "check", "/dev/null"),
        }.items()
    }
    return {
        **{f"answer {name}": f"{page.headers} {page.text}" for name, page in pages.items()},
        **{f"command {name}": (done.stdout + done.stderr).decode() for name, done in commands.items()},
        **{file.name: file.read_text() for file in local.folder.glob("*.log")},
        **{file.name: file.read_bytes().decode("latin-1") for file in local.folder.glob("deliveries.db*")},
    }


def started(local: Local, run: str, token_version: int) -> str:
    """What is printed by a whole run with tokens of this version."""
    start = ("pipeline", "start", "onboarding", "--id", run, "--wait", "--json", "--input", json.dumps(INPUT))
    done = local.command(*start, TOKEN_VERSION=str(token_version))
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.system
@pytest.mark.timeout(120)
def test_nothing_secret_is_written_anywhere(tmp_path: Path) -> None:
    written, urls = {}, []
    with local_system(tmp_path, PLAYS) as local:
        keys = local.stack.environment["CALLBACK_KEYS"]
        for version in (1, 2):
            run = f"all-{version}"
            written[f"start {run}"] = started(local, run, version)
            calls, written[f"history {run}"] = asyncio.run(read_run(local.stack.address, run))
            of_run = [CallbackURLs(local.stack.public_url, [keys]).of(call) for call in calls]
            assert [version_of(url.rpartition("/")[2]) for url in of_run] == [version] * 4
            urls += of_run
            more = written_by(local, run, of_run[3], of_run[0])
            written |= {f"{name} of {run}": text for name, text in more.items()}
    sources = ("temporal.log", "partner.log", "web.log", "worker.log", "deliveries.db")
    assert {f"{name} of all-{version}" for name in sources for version in (1, 2)} <= set(written)
    assert all("ada lovelace" in written[f"history all-{version}"] for version in (1, 2))
    proofs = [value for name, value in local.stack.environment.items() if name.endswith(("_KEY", "_SECRET"))]
    secrets = [keys, *proofs, *urls, *(url.rpartition("/")[2] for url in urls)]
    assert len(proofs) == 11
    found = [
        (source, spelling)
        for source, text in written.items()
        for secret in secrets
        for spelling in spellings(secret)
        if spelling in text
    ]
    assert found == []
