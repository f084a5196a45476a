"""A setup of every signature scheme, with keys of its own."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from activities.signatures import SCHEMES, Scheme, SignatureError, SignedRequest
from tests.parts.rsa_keys import RSA

NOW = 1_800_000_000


URL = "https://hooks.example.com/callbacks/token?a=1"


ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


EC = ec.derive_private_key(12345678901234567890, ec.SECP256R1())


EC_PRIVATE = EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


OTHER_EC = ec.derive_private_key(54321, ec.SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


EC_PUBLIC = EC.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_pem(key: Any) -> str:
    """The public half of a private key."""
    encoded: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode().strip()


def private_pem(key: Any) -> str:
    encoded: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return encoded.decode().strip()


EC_PEM = public_pem(EC)


WHSEC = "whsec_" + base64.b64encode(bytes(range(24))).decode()


WHSEC_OLD = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@dataclass(frozen=True)
class Setup:
    """A scheme with secrets, and what its signature covers. encoded: its timestamp is not in a header."""

    name: str
    secrets: tuple[str, ...] = ("new-secret", "old-secret")
    options: dict[str, Any] = field(default_factory=dict)
    url: str = URL
    body: bytes = b'{"a": 1}'
    timed: bool = False
    encoded: bool = False
    with_id: bool = False

    def scheme(self, **changes: Any) -> Scheme:
        if not changes:
            return self._unchanged
        return SCHEMES[self.name](**{"secrets": self.secrets, **self.options, **changes})

    @cached_property
    def _unchanged(self) -> Scheme:
        return SCHEMES[self.name](**{"secrets": self.secrets, **self.options})

    def signed(self, body: bytes | None = None, now: float = NOW, **changes: Any) -> SignedRequest:
        body = self.body if body is None else body
        unsigned = SignedRequest("POST", self.url, [], body)
        return self.scheme(**changes).sign_request(unsigned, now=now, delivery_id="msg_1")


TIMED = {"timed": True}


FORM = b"To=%2B1&From=%2B2&To=%2B1&To=%2B0&Empty="


SHA_URL = f"{URL}&bodySHA256={hashlib.sha256(b'{}').hexdigest()}"


ADYEN = json.dumps(
    {
        "live": "false",
        "notificationItems": [
            {
                "NotificationRequestItem": {
                    "amount": {"currency": "EUR", "value": 1000},
                    "eventCode": "AUTHORISATION",
                    "eventDate": "2023-01-09T16:27:29+01:00",
                    "merchantAccountCode": "Acme",
                    "merchantReference": f"order:{number}",
                    "pspReference": f"T7F{number}",
                    "reason": "076181:1111:03/2030",
                    "success": "true",
                }
            }
            for number in range(2)
        ],
    }
).encode()


def certificate_of(key: Any, name: str = "sns.example", *, begins: int = 2020, ends: int = 2040) -> str:
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(named, named, key.public_key(), 1, datetime(begins, 1, 1), datetime(ends, 1, 1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode().strip()


SNS_CERTIFICATE = certificate_of(RSA)


PAYPAL_CERTIFICATE = certificate_of(RSA, "messageverificationcerts.paypal.com")


TOPIC = "arn:aws:sns:eu-west-1:123456789012:events"


SNS = json.dumps(
    {
        "Type": "Notification",
        "MessageId": "msg_1",
        "TopicArn": TOPIC,
        "Subject": "news",
        "Message": '{"status":"done"}',
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    }
).encode()


SETUPS = {
    "standard-webhooks": Setup("standard-webhooks", (WHSEC, WHSEC_OLD), timed=True, with_id=True),
    "standard-webhooks v1a": Setup(
        "standard-webhooks", ("whsk_" + b64(bytes(range(32))), WHSEC), timed=True, with_id=True
    ),
    "svix": Setup("svix", (WHSEC, WHSEC_OLD), timed=True, with_id=True),
    "stripe": Setup("stripe", timed=True),
    "slack": Setup("slack", timed=True),
    "zoom": Setup("zoom", timed=True),
    "persona": Setup("persona", timed=True),
    "paddle": Setup("paddle", timed=True),
    "github": Setup("github"),
    "shopify": Setup("shopify"),
    "square": Setup("square"),
    "docusign": Setup("docusign"),
    "onfido": Setup("onfido"),
    "adyen-platform": Setup("adyen-platform", ("AB" * 32, "CD" * 32)),
    "twilio form": Setup("twilio", body=FORM),
    "twilio json": Setup("twilio", url=SHA_URL, body=b"{}"),
    "sendgrid": Setup("sendgrid", (b64(EC_PUBLIC),), {"private_key": b64(EC_PRIVATE)}, timed=True),
    "discord": Setup(
        "discord", (ED.public_key().public_bytes_raw().hex(),), {"private_key": bytes(range(32)).hex()}, timed=True
    ),
    "hmac": Setup("hmac", options={"header": "X-Sig", "algorithm": "sha512", "encoding": "base64", "prefix": "s="}),
    "hmac timed": Setup(
        "hmac",
        options={"header": "X-Sig", "signed": "{timestamp}|{url}|{body}", "timestamp_header": "X-Time"},
        timed=True,
    ),
    "jwt": Setup(
        "jwt",
        (EC_PEM,),
        {
            "algorithm": "ES256",
            "header": "X-Token",
            "body_hash": "request_body_sha256",
            "private_key": b64(EC_PRIVATE),
        },
        timed=True,
        encoded=True,
    ),
    "jwt shared": Setup(
        "jwt",
        options={"algorithm": "HS256", "header": "X-Token", "body_hash": "payload_hash", "audience": "us"},
        timed=True,
        encoded=True,
    ),
    "detached-jws": Setup(
        "detached-jws",
        (EC_PEM,),
        {"algorithm": "ES256", "header": "X-Jws", "private_key": b64(EC_PRIVATE)},
    ),
    "public-key": Setup(
        "public-key",
        (EC_PEM,),
        {"algorithm": "ecdsa-raw-sha256", "header": "X-Sig", "prefix": "v1=", "private_key": b64(EC_PRIVATE)},
    ),
    "public-key timed": Setup(
        "public-key",
        (b64(ED.public_key().public_bytes_raw()),),
        {
            "algorithm": "ed25519",
            "header": "X-Sig",
            "signed": "{timestamp}|{body}",
            "timestamp_header": "X-Time",
            "private_key": b64(ED.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())),
        },
        timed=True,
    ),
    "http-message-signatures": Setup(
        "http-message-signatures",
        (EC_PEM,),
        {"algorithm": "ecdsa-p256-sha256", "tag": "acme", "private_key": b64(EC_PRIVATE)},
        timed=True,
    ),
    "http-message-signatures shared": Setup(
        "http-message-signatures", options={"algorithm": "hmac-sha256", "covered": "@method @path @query"}, timed=True
    ),
    "sns": Setup(
        "sns",
        (TOPIC,),
        {"certificate": SNS_CERTIFICATE, "private_key": private_pem(RSA), "tolerance": 300},
        body=SNS,
        timed=True,
        encoded=True,
        with_id=True,
    ),
    "paypal": Setup(
        "paypal",
        ("9XL90610J3647323C", "4JH86294D6297924G"),
        {"certificate": PAYPAL_CERTIFICATE, "private_key": private_pem(RSA)},
        timed=True,
        encoded=True,
        with_id=True,
    ),
    "adyen-classic": Setup("adyen-classic", ("AB" * 32, "CD" * 32), body=ADYEN),
    "basic": Setup("basic", ("user:new", "user:old")),
    "bearer": Setup("bearer"),
    "header-secret": Setup("header-secret", options={"header": "X-Acme-Token"}),
}


every = pytest.mark.parametrize("setup", SETUPS.values(), ids=list(SETUPS))


timed = pytest.mark.parametrize(
    "setup", [s for s in SETUPS.values() if s.timed], ids=[n for n, s in SETUPS.items() if s.timed]
)


headed = pytest.mark.parametrize(
    "setup",
    [s for s in SETUPS.values() if s.scheme().header],
    ids=[n for n, s in SETUPS.items() if s.scheme().header],
)
"""Those whose signature is in a header."""


def reason(setup: Setup, request: SignedRequest, now: float = NOW) -> str:
    with pytest.raises(SignatureError) as raised:
        setup.scheme().verify(request, now)
    return raised.value.reason


def flip(raw: bytes, bit: int) -> bytes:
    at = bit % (8 * len(raw))
    return raw[: at // 8] + bytes([raw[at // 8] ^ (1 << at % 8)]) + raw[at // 8 + 1 :]
