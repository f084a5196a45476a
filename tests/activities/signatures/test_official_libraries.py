"""The providers' own libraries as the other side: they sign and we verify, we sign and they verify.

They take a second to import, so each test imports its own: every process of the tests reads this file.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.signatures import SCHEMES, Scheme, SignatureError, SignedRequest

pytestmark = pytest.mark.system

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://hooks.example.com/callbacks/token"
bodies = st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=4).map(lambda value: repr(value).encode())


def verify(scheme: Scheme, headers: dict[str, str], body: bytes, url: str = URL) -> None:
    scheme.verify(SignedRequest("POST", url, list(headers.items()), body), time.time())


@given(body=st.just(b'{"a": 1}') | st.just(b"{}"))
@settings(max_examples=5)
def test_standardwebhooks(body: bytes) -> None:
    from standardwebhooks import Webhook

    theirs, ours = Webhook(SECRET), SCHEMES["standard-webhooks"](secrets=[SECRET])
    now = datetime.now(UTC)
    signature = theirs.sign("msg_1", now, body.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    verify(ours, headers, body)
    theirs.verify(body, dict(ours.sign(body, url=URL, now=time.time(), delivery_id="msg_2")))


def test_svix() -> None:
    import svix

    theirs, ours = svix.Webhook(SECRET), SCHEMES["svix"](secrets=[SECRET])
    now = datetime.now(UTC)
    signature = theirs.sign("msg_1", now, '{"a": 1}')
    headers = {"svix-id": "msg_1", "svix-timestamp": str(int(now.timestamp())), "svix-signature": signature}
    verify(ours, headers, b'{"a": 1}')
    theirs.verify(b'{"a": 1}', dict(ours.sign(b'{"a": 1}', url=URL, now=time.time(), delivery_id="msg_2")))


@given(body=bodies)
@settings(max_examples=20)
def test_stripe(body: bytes) -> None:
    import stripe

    ours = SCHEMES["stripe"](secrets=["whsec_test"])
    now = int(time.time())
    signature = stripe.WebhookSignature._compute_signature(f"{now}.{body.decode()}", "whsec_test")
    verify(ours, {"Stripe-Signature": f"t={now},v1={signature}"}, body)
    [(_, header)] = ours.sign(body, url=URL, now=now, delivery_id="")
    assert stripe.WebhookSignature.verify_header(body.decode(), header, "whsec_test", 300)


@given(body=bodies)
@settings(max_examples=20)
def test_slack(body: bytes) -> None:
    from slack_sdk.signature import SignatureVerifier

    theirs, ours = SignatureVerifier("secret"), SCHEMES["slack"](secrets=["secret"])
    now = str(int(time.time()))
    signature = theirs.generate_signature(timestamp=now, body=body)
    verify(ours, {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": str(signature)}, body)
    headers = dict(ours.sign(body, url=URL, now=time.time(), delivery_id=""))
    assert theirs.is_valid_request(body, headers)


@pytest.mark.parametrize("body", [b"To=%2B1&From=%2B2&Body=hello+there", b"To=2&To=1&To=2&Empty=", b""])
@pytest.mark.parametrize("received", [URL, URL.replace(".com/", ".com:443/"), URL.replace(".com/", ".com:8443/")])
@pytest.mark.parametrize("signed", [URL, URL.replace(".com/", ".com:443/"), URL.replace(".com/", ".com:8443/")])
def test_twilio(body: bytes, signed: str, received: str) -> None:
    """With every URL and port that one may sign and the other receive."""
    from twilio.request_validator import RequestValidator

    theirs, ours = RequestValidator("secret"), SCHEMES["twilio"](secrets=["secret"])
    params = MultiDict(parse_qsl(body.decode(), keep_blank_values=True))
    signature = theirs.compute_signature(signed, params)
    taken = theirs.validate(received, params, signature)
    with contextlib.nullcontext() if taken else pytest.raises(SignatureError):
        verify(ours, {"X-Twilio-Signature": signature}, body, received)
    [(_, signature)] = ours.sign(body, url=signed, now=0, delivery_id="")
    assert theirs.validate(received, params, signature) is taken


class MultiDict(dict[str, str]):
    """Repeated fields, as Twilio's library takes them."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def getall(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]


def test_a_port_that_twilio_leaves_out_when_it_signs() -> None:
    """Published: twilio-python, tests/unit/test_request_validator.py, test_validation_removes_port_on_https."""
    body = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
    url = "https://mycompany.com:1234/myapp.php?foo=1&bar=2"
    verify(SCHEMES["twilio"](secrets=["12345"]), {"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}, body, url)


def test_twilio_json() -> None:
    from twilio.request_validator import RequestValidator

    theirs, ours = RequestValidator("secret"), SCHEMES["twilio"](secrets=["secret"])
    body = '{"a": 1}'
    url = f"{URL}?bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    verify(ours, {"X-Twilio-Signature": theirs.compute_signature(url, {})}, body.encode(), url)
    [(_, signature)] = ours.sign(body.encode(), url=url, now=0, delivery_id="")
    assert theirs.validate(url, body, signature)
