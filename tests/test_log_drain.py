"""A log drain: a machine reads all that web and worker write to stderr, from their start to their end."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.store import migrations
from activities.store.database import Database
from receiver.cli.demo.stack import stagehook_command
from receiver.deliveries.archive import Archive
from tests.local_stack import eventually, run_command, running
from tests.parts.web_processes import Web
from tests.support import stage, start

ROUTERS_ID = "ab8ac13c-3e7c-4a5f-8b3e-1c2d3e4f5a6b"
HOSTILE = '\x1b[2J","level":"ERROR"}\n{"event":"forged"}'
ENDS_WITHIN = 3 * 25.0
"""Seconds: the worker gives calls in flight 20."""


def drained(log: Path) -> list[dict[str, Any]]:
    """Every line that was written so far; each is an object with the four fields."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level", "logger", "event"} <= line.keys() for line in lines)
    return lines


def events(log: Path, name: str) -> list[dict[str, Any]]:
    return [line for line in drained(log) if line["event"] == name]


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(ENDS_WITHIN) == 0


@pytest.mark.system
async def test_a_machine_can_read_all_that_web_and_worker_log(
    real: WorkflowEnvironment, unused_port: int, tmp_path: Path
) -> None:
    """The partner cannot be reached. Callbacks, a forged token, and a start that fails."""
    database = Database(f"sqlite:///{tmp_path}/store.db")
    migrations.upgrade(database)
    web = Web(database, real.client, tmp_path)
    changes: dict[str, Any] = {"LOG_FORMAT": "json", "TASK_QUEUE": "tests"}
    changes["SANDBOX_URL"] = f"http://127.0.0.1:{unused_port}"
    log, url = tmp_path / "worker.log", ""
    worker_environment = {**web.env, **changes}
    with (
        web.serving(**changes) as serving,
        running(stagehook_command("worker"), worker_environment, log) as working,
    ):
        handle = await start(real.client, stage(1, partner="sandbox"))
        failed = eventually(lambda: events(log, "call-failed"))[0]
        url = web.callback_url(handle)
        async with httpx.AsyncClient(trust_env=False) as http:
            routed = {"X-Request-Id": ROUTERS_ID}
            odd = await http.post(f"{web.url}/callbacks/x", headers={"X-Request-Id": url.rpartition("/")[2]})
            answer = await http.post(
                url, headers=routed, json={"id": "1", "status": "succeeded", "data": {"n": HOSTILE}}
            )
        assert (odd.status_code, answer.status_code) == (404, 202)
        await handle.result()
        taken = eventually(lambda: len(events(web.log, "callback")) == 2 and events(web.log, "callback"))
        end(serving)
        end(working)
    text = web.log.read_text() + log.read_text()
    assert text.isascii()
    assert url.rpartition("/")[2] not in text
    # the starts and the ends
    assert len(events(web.log, "started")) == 1
    [started] = events(log, "started")
    assert started["logger"] == "stagehook.worker"
    assert [line["event"] for line in drained(log)][-2:] == ["stopping", "stopped"]
    assert not any(line["logger"].startswith("temporalio.worker") for line in drained(log))
    assert any("Finished server process" in line["event"] for line in drained(web.log))
    assert {line["logger"] for line in drained(web.log)} >= {"stagehook.server", "uvicorn.error", "stagehook.callbacks"}
    # the callbacks
    [accepted] = [line for line in taken if line["verdict"] == "accepted"]
    assert (accepted["status"], accepted["stage"], accepted["request_id"]) == (202, 1, ROUTERS_ID)
    assert [one.id for one in Archive(database).every() if one.verdict == "accepted"] == [accepted["delivery"]]
    assert isinstance(accepted["ms"], int)
    # the failed call: a line a try, and no traceback
    tries = events(log, "call-failed")
    assert [line["try"] for line in tries] == list(range(1, len(tries) + 1))
    known = {"partner": "sandbox", "pipeline": "testing", "workflow_id": "run", "stage": 1, "attempt": 1, "try": 1}
    assert {name: failed[name] for name in known} == known
    why = "partner sandbox could not be reached (ConnectError: nothing listens there)"
    assert (failed["why"], failed["again_in"]) == (why, 1.0)
    assert not any("traceback" in line for line in drained(log))
    assert not any("Completing activity" in line["event"] for line in drained(log))
    # a fault at the start
    faulty = run_command("worker", env={**worker_environment, "LOG_LEVEL": "loud"})
    [fault] = [json.loads(line) for line in faulty.stderr.splitlines()]
    assert (faulty.returncode, fault["event"], fault["code"]) == (2, "failed", 2)
    assert "LOG_LEVEL" in fault["why"]
