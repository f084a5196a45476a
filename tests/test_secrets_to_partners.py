"""The secrets with which a partner is called are in no history, no description of a run and no log."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.connection import Connection
from activities.environment import Environment
from activities.http import http_client
from activities.partners import sandbox
from activities.partners.auth import ClientCredentials
from activities.worker import build_worker
from receiver.logs import JSONFormatter
from tests.parts.certificates import HERE, issue
from tests.parts.partner_servers import Answered, PartnerServer, forward_proxy, partner_server, tls
from tests.support import KEY, QUEUE, RUN_TIMEOUT, progress_of, stage, start
from workflows.contract import Answer, Receipt, StageCall

SECRET, PASSWORD = "a-client-secret-of-ours", "a-proxy-password-of-ours"


@pytest.mark.system
async def test_no_secret_to_a_partner_is_written_anywhere(
    real: WorkflowEnvironment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither when the token endpoint and the partner echo them, nor when the proxy is away."""
    authority = issue("ca")
    server_certificate, ours = issue("server", authority, hosts=HERE), issue("ours", authority)
    caplog.set_level(logging.DEBUG)

    def echoing(number: int) -> Answered:
        return (401, {"error": SECRET}) if number == 1 else PartnerServer().token_answer(number)

    with (
        partner_server(tls(tmp_path, server_certificate, authority), token_answer=echoing) as server,
        forward_proxy("us", PASSWORD) as proxy,
    ):
        auth = ClientCredentials(f"{server.url}/token", "our-id", SECRET)
        way = Connection(ours.pem.decode(), ours.key_pem.decode(), authority.pem.decode(), proxy.url)

        def build_call(call: StageCall, callback_url: str) -> httpx.Request:
            return httpx.Request("POST", f"{server.url}/checks", json={})

        bank = replace(
            sandbox.partner("bank", Environment({})),
            build_call=build_call,
            read_receipt=lambda _: Receipt(answer=Answer("succeeded")),
            auth=auth,
            connection=way,
        )
        away = replace(bank, name="esign", connection=replace(way, proxy=f"http://us:{PASSWORD}@127.0.0.1:9"))
        async with http_client() as http:
            calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": bank, "esign": away})
            async with build_worker(real.client, calls, task_queue=QUEUE):
                handle = await start(real.client, stage(1, partner="bank"), stage(2, partner="esign"))
                described = await handle.describe()
                async with asyncio.timeout(RUN_TIMEOUT):
                    while "its proxy" not in str(described.raw_description):  # the second stage was tried
                        described = await handle.describe()
                shown = str(await progress_of(handle))
                history = str(await handle.fetch_history())
                await handle.terminate()
    lines = "\n".join(JSONFormatter().format(record) for record in caplog.records)
    assert len(server.tokens) >= 2
    written = {"description": str(described.raw_description), "show": shown, "history": history, "log": lines}
    for name, text in written.items():
        for secret in (SECRET, PASSWORD, "token-2", ours.key_pem.decode().splitlines()[1]):
            assert secret not in text, name
    assert "call-failed" in lines
    assert "answers 401" in lines
