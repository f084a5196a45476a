"""The providers' own libraries as the other side: they sign and we verify, we sign and they verify."""

from __future__ import annotations

import base64
import hashlib
import time
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import stripe
import svix
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier
from standardwebhooks import Webhook
from twilio.request_validator import RequestValidator

from activities.signatures import SCHEMES, Scheme, SignedRequest

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://hooks.example.com/callbacks/token"
bodies = st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=4).map(lambda value: repr(value).encode())


def verify(scheme: Scheme, headers: dict[str, str], body: bytes, url: str = URL) -> None:
    scheme.verify(SignedRequest("POST", url, list(headers.items()), body), time.time())


@given(body=st.just(b'{"a": 1}') | st.just(b"{}"))
@settings(max_examples=5, deadline=None)
def test_standardwebhooks(body: bytes) -> None:
    theirs, ours = Webhook(SECRET), SCHEMES["standard-webhooks"](secrets=[SECRET])
    now = datetime.now(UTC)
    signature = theirs.sign("msg_1", now, body.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    verify(ours, headers, body)
    theirs.verify(body, dict(ours.sign(body, url=URL, now=time.time(), delivery_id="msg_2")))


def test_svix() -> None:
    theirs, ours = svix.Webhook(SECRET), SCHEMES["svix"](secrets=[SECRET])
    now = datetime.now(UTC)
    signature = theirs.sign("msg_1", now, '{"a": 1}')
    headers = {"svix-id": "msg_1", "svix-timestamp": str(int(now.timestamp())), "svix-signature": signature}
    verify(ours, headers, b'{"a": 1}')
    theirs.verify(b'{"a": 1}', dict(ours.sign(b'{"a": 1}', url=URL, now=time.time(), delivery_id="msg_2")))


@given(body=bodies)
@settings(max_examples=20, deadline=None)
def test_stripe(body: bytes) -> None:
    ours = SCHEMES["stripe"](secrets=["whsec_test"])
    now = int(time.time())
    signature = stripe.WebhookSignature._compute_signature(f"{now}.{body.decode()}", "whsec_test")
    verify(ours, {"Stripe-Signature": f"t={now},v1={signature}"}, body)
    [(_, header)] = ours.sign(body, url=URL, now=now, delivery_id="")
    assert stripe.WebhookSignature.verify_header(body.decode(), header, "whsec_test", 300)


@given(body=bodies)
@settings(max_examples=20, deadline=None)
def test_slack(body: bytes) -> None:
    theirs, ours = SignatureVerifier("secret"), SCHEMES["slack"](secrets=["secret"])
    now = str(int(time.time()))
    signature = theirs.generate_signature(timestamp=now, body=body)
    verify(ours, {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": str(signature)}, body)
    headers = dict(ours.sign(body, url=URL, now=time.time(), delivery_id=""))
    assert theirs.is_valid_request(body, headers)


def test_twilio() -> None:
    theirs, ours = RequestValidator("secret"), SCHEMES["twilio"](secrets=["secret"])
    body = b"To=%2B1&From=%2B2&Body=hello+there"
    params = dict(parse_qsl(body.decode()))
    verify(ours, {"X-Twilio-Signature": theirs.compute_signature(URL, params)}, body)
    [(_, signature)] = ours.sign(body, url=URL, now=0, delivery_id="")
    assert theirs.validate(URL, params, signature)


def test_twilio_json() -> None:
    theirs, ours = RequestValidator("secret"), SCHEMES["twilio"](secrets=["secret"])
    body = '{"a": 1}'
    url = f"{URL}?bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    verify(ours, {"X-Twilio-Signature": theirs.compute_signature(url, {})}, body.encode(), url)
    [(_, signature)] = ours.sign(body.encode(), url=url, now=0, delivery_id="")
    assert theirs.validate(url, body, signature)
