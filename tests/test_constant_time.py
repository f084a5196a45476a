"""Secrets are compared in constant time: only `hmac.compare_digest` decides, so that no answer's time tells a part."""

from __future__ import annotations

import hmac
from dataclasses import replace
from uuid import UUID

import pytest
from starlette.requests import Request

from activities.callback_urls import BadToken, version_of
from activities.signatures import SignatureError
from receiver.scraping import refusal_of_scraper
from tests.parts.callbacks import CLAIMS, URLS
from tests.parts.consoles import browsing, locked_console
from tests.parts.setups import NOW, SETUPS, Setup

SHARED = {
    name: setup
    for name, setup in SETUPS.items()
    if "private_key" not in setup.options and name != "standard-webhooks v1a"
}
"""Schemes with a secret that both sides have. The others verify with a public key."""


@pytest.fixture(autouse=True)
def nothing_is_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: False)


@pytest.mark.parametrize("version", [1, 2])
def test_the_signature_of_a_callback_token(version: int) -> None:
    token = URLS.issue(replace(CLAIMS, chain_id=str(UUID(int=1))), version).rpartition("/")[2]
    assert version_of(token) == version
    with pytest.raises(BadToken, match="not signed by us"):
        URLS.redeem(token)


@pytest.mark.parametrize("setup", SHARED.values(), ids=list(SHARED))
def test_a_body_signature(setup: Setup) -> None:
    with pytest.raises(SignatureError) as refused:
        setup.scheme().verify(setup.signed(), NOW)
    assert refused.value.reason in {"mismatch", "wrong-claim", "body-mismatch"}


async def test_the_consoles_password() -> None:
    async with browsing(locked_console()) as browser:
        assert (await browser.sign_in()).status_code == 403


def test_the_token_of_a_scraper() -> None:
    request = Request({"type": "http", "headers": [(b"authorization", b"Bearer a-token")]})
    refused = refusal_of_scraper(request, "a-token")
    assert refused is not None
    assert refused.status_code == 401
