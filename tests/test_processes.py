"""Real processes, as a user and a PaaS start, stop and kill them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from activities.callback_urls import CallbackURLs, Claims
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import local_environment, stagehook_command, temporal_server
from tests.local_stack import eventually, run_command, running

STOP_WITHIN = 3 * 2.0
READY_WITHIN = 30.0


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes whose environment or arguments name this folder."""
    listed = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line and " ps axeww" not in line]


def shown_at(url: str) -> str:
    """The page at this URL; "" if nothing answers."""
    try:
        return httpx.get(url, trust_env=False).text
    except httpx.TransportError:
        return ""


def demo_environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder)}


# --- the demo


@pytest.mark.system
def test_demo_json_prints_one_object_and_leaves_nothing_behind(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run_command("demo", "--json", env=demo_environment(tmp_path))
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr.decode()
    shown = json.loads(done.stdout)
    assert set(shown) == {"pipeline", "workflow_id", "run_id", "status", "stages", "refused"}
    assert (shown["pipeline"], shown["status"], shown["refused"]) == (
        "onboarding",
        "completed",
        {"forged": 1, "missigned": 1},
    )
    assert shown["stages"] == [
        {"number": n, "name": name, "partner": partner, "outcome": "succeeded", "cause": cause}
        | {"attempts": attempts, "duplicates": duplicates}
        for n, name, partner, cause, attempts, duplicates in (
            (1, "identity-check", "identity", "asked", 1, 1),
            (2, "account-check", "bank", "callback", 1, 0),
            (3, "contract", "esign", "callback", 2, 0),
            (4, "card", "cards", "callback", 1, 0),
            (5, "first-payment", "payments", "callback", 1, 0),
        )
    ]
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert took < 3 * 15


@pytest.mark.fault  # make systems runs the other demo, and reads such logs in tests/test_secrets.py
def test_demo_stays_up_until_ctrl_c_and_logs_no_token_url_or_key(tmp_path: Path) -> None:
    kept, log = tmp_path / "kept", tmp_path / "demo.log"
    kept.mkdir()
    with running(stagehook_command("demo", "--keep"), demo_environment(kept), log) as demo:
        eventually(lambda: "Ctrl-C ends everything" in log.read_text())
        [ui] = [line.split()[-1] for line in log.read_text().splitlines() if line.startswith("this run in Temporal")]
        assert httpx.get(ui, trust_env=False).status_code == 200
        logs = {file.name: file.read_text() for file in kept.rglob("*.log")}
        demo.send_signal(signal.SIGINT)
        assert demo.wait(STOP_WITHIN) == 130
    assert processes_of(kept) == []
    assert set(logs) == {"temporal.log", "partner.log", "web.log", "worker.log"}
    assert "verdict=accepted" in logs["web.log"]
    for text in (*logs.values(), log.read_text()):
        assert "/callbacks/" not in text
        assert "callbacks%2F" not in text


@pytest.mark.fault  # make test ends such processes in tests/receiver/test_demo_processes.py
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_killed_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    with running(stagehook_command("demo"), demo_environment(tmp_path), tmp_path / "demo.log") as demo:
        eventually(lambda: len(processes_of(tmp_path)) >= 5)
        demo.send_signal(number)
        demo.wait(STOP_WITHIN)
        eventually(lambda: processes_of(tmp_path) == [], STOP_WITHIN)


@pytest.mark.fault
def test_a_demo_whose_part_ends_says_which_and_shows_its_log(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    with running(stagehook_command("demo"), demo_environment(tmp_path), log) as demo:
        [worker] = eventually(lambda: [line for line in processes_of(tmp_path) if "stagehook worker" in line])
        os.kill(int(worker.split()[0]), signal.SIGKILL)
        assert demo.wait(READY_WITHIN) == 1
    assert "error: worker was ended by SIGKILL; the end of its log:" in log.read_text()
    assert processes_of(tmp_path) == []


# --- web and worker


@contextmanager
def system(folder: Path, **changes: str) -> Iterator[dict[str, str]]:
    """An environment for web and worker, on ports that are free; nothing runs yet."""
    env = local_environment(
        folder,
        address=f"127.0.0.1:{free_port()}",
        public_port=free_port(),
        sandbox_url=f"http://127.0.0.1:{free_port()}",
        partners="sandbox",
    )
    yield {**env, **changes}


def status_of(env: dict[str, str], path: str) -> int:
    try:
        return httpx.get(env["PUBLIC_URL"] + path, trust_env=False).status_code
    except httpx.TransportError:
        return 0


def callback_status(env: dict[str, str]) -> int:
    claims = Claims("nobody", "chain", 1, 1, "sandbox", 1_790_000_000, 4_000_000_000)
    url = CallbackURLs(env["PUBLIC_URL"], [env["CALLBACK_KEYS"]]).issue(claims)
    return httpx.post(url, json={"status": "succeeded"}, trust_env=False, timeout=10).status_code


def temporal_of(env: dict[str, str], folder: Path) -> list[str]:
    return temporal_server(int(env["TEMPORAL_ADDRESS"].rpartition(":")[2]), folder / "temporal.db")


def started(log: Path) -> str:
    """The line by which a process says that it has started."""
    [line] = eventually(lambda: [line for line in log.read_text().splitlines() if " started " in line])
    return str(line)


@pytest.mark.system
def test_web_listens_before_temporal_serves_after_and_says_build(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with system(tmp_path, BUILD_ID="0a1b2c3") as env, running(stagehook_command("serve"), env, log) as web:
        eventually(lambda: status_of(env, "/healthz") == 200)
        assert (status_of(env, "/readyz"), callback_status(env)) == (503, 503)
        with running(temporal_of(env, tmp_path), env, tmp_path / "temporal.log"):
            eventually(lambda: status_of(env, "/readyz") == 200)
            assert callback_status(env) == 404
        assert "build_id=0a1b2c3" in started(log)
        assert 'stagehook_build_info{build_id="0a1b2c3"} 1.0' in shown_at(f"{env['PUBLIC_URL']}/metrics")
        web.terminate()
        assert web.wait(3 * 10) == 0
    assert env["CALLBACK_KEYS"] not in log.read_text()


@pytest.mark.fault  # make test serves with one process, above
def test_several_receivers_share_a_port_and_stop_with_code_0(tmp_path: Path) -> None:
    with (
        system(tmp_path, WEB_CONCURRENCY="2") as env,
        running(stagehook_command("serve"), env, tmp_path / "web.log") as web,
    ):
        eventually(lambda: status_of(env, "/healthz") == 200)
        assert {callback_status(env) for _ in range(3)} == {503}
        web.terminate()
        assert web.wait(3 * 10) == 0
    eventually(lambda: processes_of(tmp_path) == [], STOP_WITHIN)


@pytest.mark.system
def test_a_worker_whose_metrics_cannot_be_listened_on_says_so(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        system(tmp_path, METRICS_PORT=str(taken.getsockname()[1])) as env,
    ):
        done = run_command("worker", env=env)
    assert done.returncode == 2
    assert "METRICS_PORT cannot be used (port" in done.stderr.decode()


@pytest.mark.system
def test_the_worker_waits_for_temporal_says_its_build_and_stops(tmp_path: Path) -> None:
    log, port = tmp_path / "worker.log", free_port()
    url = f"http://127.0.0.1:{port}"
    build = {"BUILD_ID": "0a1b2c3", "METRICS_PORT": str(port)}
    with system(tmp_path, **build) as env, running(stagehook_command("worker"), env, log) as worker:
        eventually(lambda: "temporal-away" in log.read_text())
        assert json.loads(shown_at(f"{url}/healthz"))["polling"] is False
        with running(temporal_of(env, tmp_path), env, tmp_path / "temporal.log"):
            eventually(lambda: "started task_queue=stagehook" in log.read_text())
            assert "build_id=0a1b2c3" in started(log)
            eventually(lambda: shown_at(f"{url}/healthz") == '{"polling":true}')
            assert 'stagehook_build_info{build_id="0a1b2c3"} 1.0' in shown_at(f"{url}/metrics")
            assert "temporal_worker_start_total" in shown_at(f"{url}/metrics")
            worker.terminate()
            assert worker.wait(3 * 25) == 0
        assert "stopped" in log.read_text()
