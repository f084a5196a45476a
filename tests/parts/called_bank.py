"""A bank that is called with credentials, certificates or through a proxy."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.connection import Connection
from activities.environment import Environment
from activities.http import http_client
from activities.partners import sandbox
from activities.partners.auth import ClientCredentials
from activities.partners.partner import Partner, idempotency_key
from tests.parts.certificates import HERE, issue
from tests.parts.partner_servers import PartnerServer
from tests.support import KEY, SOON
from workflows.contract import NOT_REACHED, Receipt, StageCall

CALL = StageCall("run-1", "chain-1", 2, "account-check", "bank", 1, 1_800_000_000, 1_900_000_000)
SECRET = "a-client-secret:with/colon"
PASSWORD = "a-proxy-password"

CA, OTHER_CA = issue("ca"), issue("another ca")
SERVER, OURS = issue("server", CA, hosts=HERE), issue("ours", CA)


def bank(server: PartnerServer, **parts: Any) -> Partner:
    def build_call(call: StageCall, callback_url: str) -> httpx.Request:
        return httpx.Request("POST", f"{server.url}/checks", json={"key": idempotency_key(call)})

    plain = sandbox.partner("bank", Environment({}))
    return replace(plain, build_call=build_call, read_receipt=lambda _: Receipt(reference="w-1"), **parts)


def credentials(server: PartnerServer, **parts: Any) -> ClientCredentials:
    return ClientCredentials(f"{server.url}/token", "an id", SECRET, "checks.write", **parts)


async def call(*partners: Partner, times: int = 1, within: float = SOON) -> list[Receipt | BaseException]:
    """Call the partners so many times at once, with a worker's client."""
    env = ActivityEnvironment()
    env.info = dataclasses.replace(env.info, start_to_close_timeout=timedelta(seconds=within))
    async with http_client() as http:
        urls = CallbackURLs("https://hooks.test", [KEY])
        all_calls = [PartnerCalls(http, urls, {"bank": partner}) for partner in partners for _ in range(times)]
        running = [env.run(calls.call_partner, CALL) for calls in all_calls]
        return await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 3 * SOON)


async def refusal(partner: Partner, *, within: float = SOON) -> str:
    """What a call says that the partner certainly has not taken."""
    [error] = await call(partner, within=within)
    assert isinstance(error, ApplicationError), error
    assert (error.type, error.non_retryable) == (NOT_REACHED, False)
    for secret in (SECRET, PASSWORD, OURS.key_pem.decode()):
        assert secret not in repr(error) + str(error.details) + str(error.__cause__)
    return error.message


def connected(**parts: Any) -> Connection:
    return Connection(**{"authority": CA.pem.decode(), **parts})


def proving(issued: Any = OURS) -> Connection:
    return connected(certificate=issued.pem.decode(), key=issued.key_pem.decode())
