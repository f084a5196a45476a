"""A partner whose keys are at a URL: while they are not there, its callbacks are neither taken nor refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from activities.partners.events import NOT_OURS
from activities.signatures import SCHEMES, Scheme
from receiver.app import create_app
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, CLAIMS, URLS, no_temporal
from tests.parts.key_servers import key_server
from tests.parts.one_url import ONE_URL, PLAIN, carrying, post
from tests.parts.setups import private_pem

THEIRS, STRANGERS = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def signing(url: str, key: ec.EllipticCurvePrivateKey) -> Scheme:
    options: dict[str, Any] = {
        "algorithm": "ES256",
        "header": "X-Token",
        "body_hash": "body",
        "private_key": private_pem(key),
    }
    return SCHEMES["jwt"]([url], **options)


async def test_without_keys_the_answer_is_503_and_the_partner_retries() -> None:
    with key_server() as served:
        served.holding.clear()
        jwk = jwt.get_algorithm_by_name("ES256").to_jwk(THEIRS.public_key(), as_dict=True)
        served.documents["/jwks"] = json.dumps({"keys": [{**jwk, "kid": "k-1"}]}).encode()
        theirs, strangers = (signing(f"{served.url}/jwks", key) for key in (THEIRS, STRANGERS))
        bank = replace(PLAIN, signature=theirs, **{**ONE_URL, "read_event": lambda received: NOT_OURS})
        app = create_app(URLS, {"bank": bank}, Signals(no_temporal))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
        ):
            for scheme in (theirs, strangers):
                answer = await post(http, "/partners/bank", {}, scheme)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                assert (await post(http, URLS.issue(CLAIMS), carrying("x"), scheme)).status_code == 503
            assert (await post(http, "/partners/bank", {}, None)).status_code == 401
            served.holding.set()
            theirs.prepare(wait=30)
            assert (await post(http, "/partners/bank", {}, theirs)).status_code == 202
            assert (await post(http, "/partners/bank", {}, strangers)).status_code == 401
            unsigned = await http.post("/partners/bank", json={}, headers={"X-Token": "e30.e30."})
            assert unsigned.status_code == 401
