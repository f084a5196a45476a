"""Calls to the sandbox partner, through a client of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import sandbox
from tests.support import KEY


@pytest.fixture
async def calls() -> AsyncIterator[PartnerCalls]:
    env = Environment({"SANDBOX_URL": "http://sandbox.test"})
    async with http_client() as http:
        yield PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": sandbox.partner("bank", env)})
