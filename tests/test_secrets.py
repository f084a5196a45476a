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


def written_by(local: Local, url: str, signed: str) -> dict[str, str]:
    """Everything that was printed, logged or answered, by its source."""
    with httpx.Client(trust_env=False) as http:
        pages = pages_of(http, local, url, signed)
    assert {name: page.status_code for name, page in pages.items() if name.isdigit()} == {
        name: int(name) for name in pages if name.isdigit()
    }
    commands = {
        name: local.command(*args)
        for name, args in {
            "show": ("pipeline", "show", "all", "--json"),
            "list": ("pipeline", "list"),
            "watch": ("pipeline", "watch", "all"),
            "inspect": ("token", "inspect", url, "--json"),
            "bad token": ("token", "inspect", url[:-1]),
            "keys": ("key", "list"),
            "doctor": ("doctor",),
            "send": ("partner", "send", signed),
            "undo": ("partner", "undo", "all", "4", "--yes", "--json"),
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


@pytest.mark.timeout(120)
@pytest.mark.parametrize("token_version", [1, 2])
def test_nothing_secret_is_written_anywhere(tmp_path: Path, token_version: int) -> None:
    with local_system(tmp_path, PLAYS) as local:
        start = ("pipeline", "start", "onboarding", "--id", "all", "--wait", "--json", "--input", json.dumps(INPUT))
        started = local.command(*start, TOKEN_VERSION=str(token_version))
        assert started.returncode == 0, started.stderr
        calls, history = asyncio.run(read_run(local.stack.address, "all"))
        keys = local.stack.environment["CALLBACK_KEYS"]
        urls = [CallbackURLs(local.stack.public_url, [keys]).of(call) for call in calls]
        written = {"history": history, "start": started.stdout.decode(), **written_by(local, urls[3], urls[0])}
    assert [version_of(url.rpartition("/")[2]) for url in urls] == [token_version] * 4
    assert {"temporal.log", "partner.log", "receiver.log", "worker.log", "deliveries.db"} <= set(written)
    assert "ada lovelace" in written["history"]
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
