"""More of the providers' own libraries as the other side, set up by their lines in docs/signatures.md."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt import get_algorithm_by_name

from activities.signatures import SCHEMES, Scheme, SignatureError, SignedRequest
from tests.parts.rsa_keys import RSA
from tests.parts.setups import ADYEN, EC, EC_PRIVATE, EC_PUBLIC, ED, URL, b64, private_pem
from tests.parts.ways import FORM_TYPE, WAYS

pytestmark = pytest.mark.system

SECRET = "a-secret-of-thirty-two-characters"
HEX_KEY = "0123456789ABCDEF" * 4
bodies = st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=4).map(json.dumps)


def scheme_of(name: str, secret: str, **options: Any) -> Scheme:
    return SCHEMES[name](secrets=[secret], **options)


def line_named(who: str, secret: str = SECRET) -> Scheme:
    """What the documentation's line for the provider makes."""
    [way] = [way for way in WAYS if way.who.split(",")[0].split(" (")[0] == who]
    return scheme_of(way.name, secret, **way.options)


def sent(body: bytes, *headers: tuple[str, str]) -> SignedRequest:
    return SignedRequest("POST", URL, list(headers), body)


def refuses(scheme: Scheme, request: SignedRequest) -> None:
    with pytest.raises(SignatureError):
        scheme.verify(request, time.time())


def signature_of(scheme: Scheme, body: bytes) -> str:
    """The signature's header, as we make it."""
    return dict(scheme.sign(body, url=URL, now=time.time(), delivery_id="msg-1"))[scheme.header]


@given(body=bodies)
@settings(max_examples=20)
def test_adyens_library_signs_a_payload(body: str) -> None:
    from Adyen.util import generate_payload_sig, is_valid_hmac_payload

    ours, raw = scheme_of("adyen-platform", HEX_KEY), body.encode()
    theirs = generate_payload_sig(raw, HEX_KEY).decode()
    ours.verify(sent(raw, (ours.header, theirs)), time.time())
    assert is_valid_hmac_payload(signature_of(ours, raw), HEX_KEY, raw)
    refuses(ours, sent(raw + b" ", (ours.header, theirs)))


def test_adyens_library_signs_a_notification() -> None:
    from Adyen.util import generate_notification_sig, is_valid_hmac_notification

    ours, document = scheme_of("adyen-classic", HEX_KEY), json.loads(ADYEN)
    for entry in document["notificationItems"]:
        item = entry["NotificationRequestItem"]
        item["additionalData"] = {"hmacSignature": generate_notification_sig(item, HEX_KEY).decode()}
    ours.verify(sent(json.dumps(document).encode()), time.time())
    document["notificationItems"][1]["NotificationRequestItem"]["success"] = "false"
    refuses(ours, sent(json.dumps(document).encode()))
    signed = ours.sign_request(sent(ADYEN), now=time.time(), delivery_id="")
    for entry in json.loads(signed.body)["notificationItems"]:
        assert is_valid_hmac_notification(entry["NotificationRequestItem"], HEX_KEY)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_braintrees_library_signs_a_payload() -> None:
    """Its payload is base64 in lines; the signature is over the text with its line breaks."""
    import braintree
    from braintree.exceptions.invalid_signature_error import InvalidSignatureError

    gateway = braintree.BraintreeGateway(
        braintree.Configuration(braintree.Environment.Sandbox, "merchant", "public-key", SECRET)
    )
    ours = line_named("Braintree")
    fields = gateway.webhook_testing.sample_notification(
        braintree.WebhookNotification.Kind.SubscriptionWentPastDue, "s-1"
    )
    theirs = sent(urlencode(fields).encode(), FORM_TYPE)
    ours.verify(theirs, time.time())
    refuses(ours, replace(theirs, body=theirs.body.replace(b"bt_payload=", b"bt_payload=A")))
    other = f"another|{'0' * 40}&{fields['bt_signature']}"
    ours.verify(sent(urlencode({**fields, "bt_signature": other}).encode(), FORM_TYPE), time.time())
    unsigned = sent(urlencode({"bt_payload": fields["bt_payload"]}).encode(), FORM_TYPE)
    made = ours.sign_request(unsigned, now=time.time(), delivery_id="public-key")
    [signature] = parse_qs(made.body.decode())["bt_signature"]
    assert gateway.webhook_notification.parse(signature, fields["bt_payload"]).subscription.id == "s-1"
    with pytest.raises(InvalidSignatureError):
        gateway.webhook_notification.parse(signature, b"A" + fields["bt_payload"])


@given(body=bodies)
@settings(max_examples=20)
def test_razorpays_library_verifies(body: str) -> None:
    from razorpay.errors import SignatureVerificationError
    from razorpay.utility import Utility

    ours = line_named("Razorpay")
    assert Utility().verify_webhook_signature(body, signature_of(ours, body.encode()), SECRET)
    with pytest.raises(SignatureVerificationError):
        Utility().verify_webhook_signature(f"{body} ", signature_of(ours, body.encode()), SECRET)


def test_gocardless_library_verifies() -> None:
    from gocardless_pro import webhooks
    from gocardless_pro.errors import InvalidSignatureError

    ours, body = line_named("GoCardless"), b'{"events": []}'
    assert webhooks.parse(body, SECRET, signature_of(ours, body)) == []
    with pytest.raises(InvalidSignatureError):
        webhooks.parse(body + b" ", SECRET, signature_of(ours, body))


def test_discords_library_verifies() -> None:
    from discord_interactions import verify_key

    public = ED.public_key().public_bytes_raw().hex()
    ours = scheme_of("discord", public, private_key=ED.private_bytes_raw().hex())
    for body in (b'{"type": 1}', b"", "caf\u00e9".encode()):
        headers = dict(ours.sign(body, url=URL, now=time.time(), delivery_id=""))
        signature, stamp = headers["X-Signature-Ed25519"], headers["X-Signature-Timestamp"]
        assert verify_key(body, signature, stamp, public)
        assert not verify_key(body + b" ", signature, stamp, public)


def test_sendgrids_library_verifies() -> None:
    from sendgrid.helpers.eventwebhook import EventWebhook

    ours = scheme_of("sendgrid", b64(EC_PUBLIC), private_key=b64(EC_PRIVATE))
    theirs = EventWebhook(b64(EC_PUBLIC))
    for body in ('[{"event": "delivered"}]\r\n', "", "caf\u00e9"):
        headers = dict(ours.sign(body.encode(), url=URL, now=time.time(), delivery_id=""))
        stamp = headers[ours.timestamp_header]  # type: ignore[attr-defined]
        assert theirs.verify_signature(body, headers[ours.header], stamp)
        assert not theirs.verify_signature(body + " ", headers[ours.header], stamp)


KEYS: dict[str, tuple[str, str, Any]] = {
    "hmac-sha256": ("HMAC_SHA256", "", SECRET),
    "ed25519": ("ED25519", "EdDSA", ED),
    "ecdsa-p256-sha256": ("ECDSA_P256_SHA256", "ES256", EC),
    "rsa-pss-sha512": ("RSA_PSS_SHA512", "PS512", RSA),
    "rsa-v1_5-sha256": ("RSA_V1_5_SHA256", "RS256", RSA),
}
"""By algorithm: its names in the library and in JOSE, and the key."""


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_library_of_rfc_9421_signs_and_verifies(algorithm: str) -> None:
    import http_message_signatures as library

    name, jose_name, key = KEYS[algorithm]

    class Resolver(library.HTTPSignatureKeyResolver):
        def resolve_private_key(self, key_id: str) -> Any:
            return key if jose_name else key.encode()

        def resolve_public_key(self, key_id: str) -> Any:
            return key.public_key() if jose_name else key.encode()

    ours = scheme_of(
        "http-message-signatures",
        key_set(jose_name, key) if jose_name else key,
        algorithm=algorithm,
        **({"private_key": private_pem(key)} if jose_name else {}),
    )
    chosen = {"signature_algorithm": getattr(library.algorithms, name), "key_resolver": Resolver()}
    body = b'{"a": 1}'
    message = SimpleNamespace(method="POST", url=URL, headers={})
    covered = ("@method", "@target-uri", "content-digest")
    library.HTTPMessageSigner(**chosen).sign(
        message, key_id="k", created=datetime.now(UTC), body=body, covered_component_ids=covered
    )
    theirs = sent(body, *message.headers.items())
    ours.verify(theirs, time.time())
    refuses(ours, replace(theirs, body=body + b" "))
    refuses(ours, replace(theirs, url=f"{URL}&b=1"))
    if jose_name:  # it wants a key id, which a bare shared key has not
        message.headers = dict(ours.sign_request(sent(body), now=time.time(), delivery_id="").headers)
        verifier = library.HTTPMessageVerifier(**chosen)
        verifier.verify(message, body=body)
        message.url = f"{URL}&b=1"
        with pytest.raises(library.InvalidSignature):
            verifier.verify(message, body=body)


def key_set(jose_name: str, key: Any) -> str:
    """A key set with the public key, whose id is k."""
    jwk = get_algorithm_by_name(jose_name).to_jwk(key.public_key(), as_dict=True)
    return json.dumps({"keys": [{**jwk, "kid": "k"}]})
