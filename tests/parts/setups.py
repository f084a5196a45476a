"""A setup of every signature scheme, with keys of its own."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from activities.signatures import SCHEMES, Scheme, SignedRequest

NOW = 1_800_000_000


URL = "https://hooks.example.com/callbacks/token?a=1"


ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


EC = ec.derive_private_key(12345678901234567890, ec.SECP256R1())


EC_PRIVATE = EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


OTHER_EC = ec.derive_private_key(54321, ec.SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


EC_PUBLIC = EC.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


WHSEC = "whsec_" + base64.b64encode(bytes(range(24))).decode()


WHSEC_OLD = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@dataclass(frozen=True)
class Setup:
    """A scheme with secrets, and what its signature covers."""

    name: str
    secrets: tuple[str, ...] = ("new-secret", "old-secret")
    options: dict[str, Any] = field(default_factory=dict)
    url: str = URL
    body: bytes = b'{"a": 1}'
    timed: bool = False
    with_id: bool = False

    def scheme(self, **changes: Any) -> Scheme:
        return SCHEMES[self.name](**{"secrets": self.secrets, **self.options, **changes})

    def signed(self, body: bytes | None = None, now: float = NOW, **changes: Any) -> SignedRequest:
        body = self.body if body is None else body
        headers = self.scheme(**changes).sign(body, url=self.url, now=now, delivery_id="msg_1")
        return SignedRequest("POST", self.url, headers, body)


TIMED = {"timed": True}


FORM = b"To=%2B1&From=%2B2&To=%2B1&To=%2B0&Empty="


SHA_URL = f"{URL}&bodySHA256={hashlib.sha256(b'{}').hexdigest()}"


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
    "basic": Setup("basic", ("user:new", "user:old")),
    "bearer": Setup("bearer"),
    "header-secret": Setup("header-secret", options={"header": "X-Acme-Token"}),
}


every = pytest.mark.parametrize("setup", SETUPS.values(), ids=list(SETUPS))


timed = pytest.mark.parametrize(
    "setup", [s for s in SETUPS.values() if s.timed], ids=[n for n, s in SETUPS.items() if s.timed]
)
