"""A fresh clone deployed as app.json says: web and worker, TRIAL=1, and a router that ends TLS in front."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from pathlib import Path

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.trial import derived_secrets
from receiver.cli.demo.processes import bare_environment, free_port
from receiver.cli.demo.running import INPUT
from receiver.cli.demo.stack import stagehook_command
from tests.local_stack import running
from tests.parts.outages import ready
from tests.parts.public_address import NAME, PublicAddress, public_address

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[1]


async def stagehook(env: dict[str, str], *args: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *stagehook_command(*args), env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, out.decode()


def button_environment(folder: Path, real: WorkflowEnvironment, address: PublicAddress, port: int) -> dict[str, str]:
    """The variables of an app that was made by app.json on Heroku, with dyno metadata."""
    (folder / "temporal.toml").touch()
    asked = json.loads((ROOT / "app.json").read_text())["env"]
    values = {name: entry["value"] for name, entry in asked.items() if entry.get("value")}
    made = {name: secrets.token_hex(32) for name, entry in asked.items() if entry.get("generator") == "secret"}
    return {
        **bare_environment(),
        **values,
        **made,
        **address.environment,
        "TEMPORAL_ADDRESS": real.client.service_client.config.target_host,
        "TEMPORAL_NAMESPACE": real.client.namespace,
        "TEMPORAL_CONFIG_FILE": str(folder / "temporal.toml"),
        "DYNO": "web.1",
        "HEROKU_APP_DEFAULT_DOMAIN_NAME": address.host,
        "WEB_CONCURRENCY": "2",
        "PORT": str(port),
    }


async def test_a_deployed_clone_runs_the_onboarding(real: WorkflowEnvironment, tmp_path: Path) -> None:
    port = free_port()
    logs = tmp_path / "web.log", tmp_path / "worker.log"
    async with public_address(tmp_path, port) as address:
        env = button_environment(tmp_path, real, address, port)
        with running(stagehook_command("serve"), env, logs[0]), running(stagehook_command("worker"), env, logs[1]):
            await ready(f"http://127.0.0.1:{port}")
            code, said = await stagehook(env, "doctor")
            assert code == 0, said
            assert "web itself plays the sample partners (TRIAL=1)" in said
            start = ("pipeline", "start", "onboarding", "--wait", "--json", "--input", json.dumps(INPUT))
            code, said = await stagehook(env, *start)
            assert (code, '"status": "completed"' in said or '"status":"completed"' in said) == (0, True), said
            assert await refusals(address, port, env["CALLBACK_KEYS"]) == [401, 422, 401]
    for log in logs:
        text = log.read_text()
        assert "WARNING stagehook" in text
        assert "TRIAL=1" in text
        assert f"public_url=https://{address.host} public_url_from=HEROKU_APP_DEFAULT_DOMAIN_NAME" in text


async def refusals(address: PublicAddress, port: int, key: str) -> list[int]:
    """The answers at the public address to a call without the key, one for a foreign URL, and an unsigned callback."""
    call = {
        "card": {},
        "cardholder": {},
        "reference": "run/1/1",
        "callback_url": "https://elsewhere.test/callbacks/a.b",
    }
    headers = {"X-Api-Key": derived_secrets([key])["CARDS_KEY"], "Idempotency-Key": "key", "Host": address.host}
    # The name is on this machine only for the processes; the certificate is that of the name.
    async with httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=str(address.certificate)), trust_env=False
    ) as http:
        url = f"https://127.0.0.1:{address.host.partition(':')[2]}/trial/cards/cards"
        extensions = {"sni_hostname": NAME}
        without = await http.post(url, json=call, extensions=extensions)
        foreign = await http.post(url, json=call, headers=headers, extensions=extensions)
        ledger = await http.get(url.replace("cards/cards", "ledger"), extensions=extensions)
    return [without.status_code, foreign.status_code, ledger.status_code]
