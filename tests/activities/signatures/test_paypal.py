"""PayPal: only our webhook, only PayPal's certificates, and what a checksum does not prove."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from activities.signatures import ConfigError, KeyUnavailable, SignatureError, SignedRequest, paypal
from activities.signatures import signing_certificates as certificates
from activities.signatures.diagnosis import diagnose
from tests.parts.key_servers import KeyServer, key_server
from tests.parts.rsa_keys import OTHER_RSA, RSA
from tests.parts.setups import EC, NOW, PAYPAL_CERTIFICATE, SETUPS, certificate_of, private_pem

SETUP = SETUPS["paypal"]
PAYPAL_ID = SETUP.secrets[0]
BODY = SETUP.body
TIME = "2027-01-15T08:00:00Z"
PUBLISHED: dict[str, Any] = {"certificate": "", "private_key": ""}
"""Options with which the certificate is fetched."""


def sent(body: bytes = BODY, **headers: Any) -> SignedRequest:
    """A signed request, of which headers are then changed; None removes a header."""
    changed = {f"PAYPAL-{name.replace('_', '-')}".upper(): value for name, value in headers.items()}
    pairs = [(name, changed.get(name, value)) for name, value in SETUP.signed().headers]
    return SignedRequest("POST", "", [(name, value) for name, value in pairs if value is not None], body)


def signed_by_hand(text: str, digest: HashAlgorithm | None = None, **headers: Any) -> SignedRequest:
    signature = base64.b64encode(RSA.sign(text.encode(), padding.PKCS1v15(), digest or SHA256())).decode()
    return sent(transmission_sig=signature, **headers)


def refused(request: SignedRequest, now: float = NOW, **changes: Any) -> str:
    with pytest.raises(SignatureError) as raised:
        SETUP.scheme(**changes).verify(request, now)
    return raised.value.reason


def test_paypal_signs_four_texts() -> None:
    """developer.paypal.com: `transmissionId|timeStamp|webhookId|crc32`, the checksum as a decimal number."""
    text = f"d938e770-8046-11e6|{TIME}|{PAYPAL_ID}|{zlib.crc32(BODY)}"
    verified = SETUP.scheme().verify(signed_by_hand(text, transmission_id="d938e770-8046-11e6"), NOW)
    assert (verified.key_index, verified.timestamp, verified.delivery_id) == (0, NOW, "d938e770-8046-11e6")


def test_headers_may_be_in_any_case() -> None:
    request = sent()
    lower = [(name.lower(), value) for name, value in request.headers]
    assert SETUP.scheme().verify(replace(request, headers=lower), NOW).key_index == 0


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"transmission_id": "msg_2"}, "mismatch"),
        ({"transmission_id": f"msg_1|{TIME}"}, "malformed-id"),
        ({"transmission_id": ""}, "malformed-id"),
        ({"transmission_id": "msg 1"}, "malformed-id"),
        ({"transmission_id": "x" * 257}, "malformed-id"),
        ({"transmission_time": "2027-01-15T08:00:01Z"}, "mismatch"),
        ({"transmission_time": "2027-01-15T08:00:00+00:00"}, "mismatch"),
        ({"transmission_time": "2027-01-15T07:54:59Z"}, "stale"),
        ({"transmission_time": "2027-01-15T09:00:00Z"}, "stale"),
        ({"transmission_time": str(NOW)}, "malformed-timestamp"),
        ({"transmission_time": "2027-01-15T08:00:00"}, "malformed-timestamp"),
        ({"transmission_time": f"{TIME}|{PAYPAL_ID}"}, "malformed-timestamp"),
        ({"auth_algo": "SHA1withRSA"}, "malformed-header"),
        ({"auth_algo": "SHA256withECDSA"}, "malformed-header"),
        ({"auth_algo": "sha256"}, "malformed-header"),
        ({"auth_algo": "none"}, "malformed-header"),
        ({"auth_algo": "SHA256withRSA, SHA1withRSA"}, "malformed-header"),
        ({"transmission_sig": ""}, "mismatch"),
        ({"transmission_sig": "AAAA"}, "mismatch"),
        ({"transmission_sig": "!"}, "malformed-header"),
        *(({name: None}, "missing-header") for name in ("auth_algo", "cert_url", "transmission_id")),
        *(({name: None}, "missing-header") for name in ("transmission_time", "transmission_sig")),
    ],
)
def test_a_changed_header_of_paypal_is_refused(headers: dict[str, Any], reason: str) -> None:
    assert refused(sent(**headers)) == reason


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY[:-1], b'{"a": 2}', BODY + BODY])
def test_another_body_of_paypals_is_refused(body: bytes) -> None:
    assert refused(sent(body)) == "mismatch"


@pytest.mark.parametrize(
    "text",
    [
        f"msg_1|{TIME}|4JH86294D6297924X|{zlib.crc32(BODY)}",
        f"msg_1|{TIME}|WEBHOOK_ID|{zlib.crc32(BODY)}",
        f"msg_1|{TIME}|{PAYPAL_ID}|{zlib.crc32(BODY):x}",
        f"msg_1|{TIME}|{PAYPAL_ID}|{zlib.crc32(BODY) - 2**32}",
        f"msg_1|{TIME}|{PAYPAL_ID.lower()}|{zlib.crc32(BODY)}",
        f"msg_1|{TIME}|{zlib.crc32(BODY)}",
    ],
)
def test_another_webhook_or_checksum_is_refused(text: str) -> None:
    """PayPal signs for all its customers: an event of another webhook has a good signature."""
    assert refused(signed_by_hand(text)) == "mismatch"


def test_another_digest_or_padding_is_refused() -> None:
    text = f"msg_1|{TIME}|{PAYPAL_ID}|{zlib.crc32(BODY)}"
    assert refused(signed_by_hand(text, SHA1())) == "mismatch"
    pss = RSA.sign(text.encode(), padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
    assert refused(sent(transmission_sig=base64.b64encode(pss).decode())) == "mismatch"


def same_checksum() -> tuple[bytes, bytes]:
    """Two bodies with one CRC-32, found by chance: some 80,000 tries are enough."""
    seen: dict[int, bytes] = {}
    for number in count():
        body = b'{"note": "%s"}' % hashlib.sha256(b"%d" % number).hexdigest().encode()
        if (other := seen.setdefault(zlib.crc32(body), body)) != body:
            return other, body
    raise AssertionError


def test_a_checksum_does_not_prove_the_body() -> None:
    first, second = same_checksum()
    request = SETUP.signed(first)
    scheme = SETUP.scheme()
    scheme.verify(replace(request, body=second), NOW)
    assert (scheme.covers_body, scheme.covers_event) == (False, True)
    assert "CRC-32" in scheme.body_limits


@pytest.mark.parametrize(
    "url",
    [
        "http://api.paypal.com/v1/notifications/certs/CERT-0",
        "HTTPS://api.paypal.com/v1/notifications/certs/CERT-0",
        "https://evil.example/v1/notifications/certs/CERT-0",
        "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-0",
        "https://evilpaypal.com/v1/notifications/certs/CERT-0",
        "https://paypal.com/v1/notifications/certs/CERT-0",
        "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-0",
        "https://user:pass@api.paypal.com/v1/notifications/certs/CERT-0",
        "https://evil.example/api.paypal.com/v1/notifications/certs/CERT-0",
        "https://evil.example#.paypal.com/v1/notifications/certs/CERT-0",
        "https://evil.example?.paypal.com/v1/notifications/certs/CERT-0",
        "https://evil.example\\.paypal.com/v1/notifications/certs/CERT-0",
        "https://api.paypal.com:8443/v1/notifications/certs/CERT-0",
        "https://api.paypal.com./v1/notifications/certs/CERT-0",
        "https://api.paypal.com/v1/notifications/certs/../../checkout/CERT-0",
        "https://api.paypal.com/v1/notifications/certs/%2e%2e/CERT-0",
        "https://api.paypal.com/redirect/CERT-0",
        "https://api.paypal.com/v1/notifications/certs/CERT-0?to=https://evil.example",
        "https://api.paypal.com/v1/notifications/certs/CERT-0\n",
        "https://\u0430pi.paypal.com/v1/notifications/certs/CERT-0",
        "https://api.paypa\u217c.com/v1/notifications/certs/CERT-0",
        "",
    ],
)
def test_a_certificate_not_of_paypals_is_not_fetched(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "Fetched", None)
    assert refused(sent(cert_url=url), **PUBLISHED) == "malformed-header"
    assert refused(sent(cert_url=url)) == "malformed-header", "also where a certificate is pinned"


@pytest.mark.parametrize("host", ["api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com"])
def test_the_hosts_of_paypal_are_known(host: str) -> None:
    url = f"https://{host}/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"
    assert SETUP.scheme().verify(sent(cert_url=url), NOW).key_index == 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    with key_server() as served:
        monkeypatch.setattr(paypal, "PAYPAL_CERTIFICATE_URLS", re.compile(re.escape(served.url) + "/[a-z0-9]+"))
        yield served


def fetched(server: KeyServer, document: str, path: str = "/cert") -> SignedRequest:
    """A request that names the document on the server."""
    server.documents[path] = document.encode()
    return sent(cert_url=f"{server.url}{path}")


def test_paypals_certificate_is_fetched_once(server: KeyServer) -> None:
    scheme, request = SETUP.scheme(**PUBLISHED), fetched(server, PAYPAL_CERTIFICATE)
    with pytest.raises(KeyUnavailable):
        scheme.verify(request, NOW)
    scheme.prepare(wait=30)
    for _ in range(2):
        scheme.verify(request, NOW)
    with pytest.raises(SignatureError, match="mismatch"):
        scheme.verify(replace(request, body=b"{}"), NOW)
    assert server.fetched == {"/cert": 1}


@pytest.mark.parametrize(
    "document",
    [
        "",
        "junk",
        PAYPAL_CERTIFICATE[:-60],
        private_pem(RSA),
        certificate_of(RSA, "evil.example"),
        certificate_of(RSA, "evilpaypal.com"),
        certificate_of(RSA, "messageverificationcerts.paypal.com.evil.example"),
        certificate_of(RSA, "paypal.com\n.paypal.com"),
        certificate_of(RSA, "evil.example") + "\n" + PAYPAL_CERTIFICATE,
        PAYPAL_CERTIFICATE + "x" * 300_000,
    ],
    ids=range(10),
)
def test_a_document_not_of_paypals_is_no_certificate(server: KeyServer, document: str) -> None:
    scheme, request = SETUP.scheme(**PUBLISHED), fetched(server, document)
    for _ in range(2):
        with pytest.raises(KeyUnavailable):
            scheme.verify(request, NOW)
        scheme.prepare(wait=30)


def test_a_redirect_of_paypals_is_not_followed(server: KeyServer) -> None:
    scheme, request = SETUP.scheme(**PUBLISHED), fetched(server, PAYPAL_CERTIFICATE)
    server.status, server.headers["Location"] = 302, f"{server.url}/other"
    for _ in range(2):
        with pytest.raises(KeyUnavailable):
            scheme.verify(request, NOW)
        scheme.prepare(wait=30)
    assert server.fetched == {"/cert": 1}


BAD_CERTIFICATES = [
    (certificate_of(RSA, "api.paypal.com", ends=2021), "stale"),
    (certificate_of(RSA, "api.paypal.com", begins=2030), "stale"),
    (certificate_of(EC, "api.paypal.com"), "malformed-header"),
    (certificate_of(OTHER_RSA, "api.paypal.com"), "mismatch"),
]


@pytest.mark.parametrize(("certificate", "reason"), BAD_CERTIFICATES, ids=range(4))
def test_paypals_certificate_is_valid_and_its_own(certificate: str, reason: str) -> None:
    assert refused(SETUP.signed(), certificate=certificate, private_key="") == reason


@pytest.mark.parametrize(("certificate", "reason"), BAD_CERTIFICATES, ids=range(4))
def test_a_fetched_certificate_is_checked_alike(server: KeyServer, certificate: str, reason: str) -> None:
    scheme, request = SETUP.scheme(**PUBLISHED), fetched(server, certificate)
    with pytest.raises(KeyUnavailable):
        scheme.verify(request, NOW)
    scheme.prepare(wait=30)
    with pytest.raises(SignatureError, match=reason):
        scheme.verify(request, NOW)


def test_an_expired_certificate_blames_no_key() -> None:
    scheme = SETUP.scheme(certificate=BAD_CERTIFICATES[0][0], private_key="")
    found = diagnose(scheme, SETUP.secrets, SETUP.signed(), NOW)
    assert (found.failed, found.reason) == ("time", "stale")
    assert [finding.says for finding in found.findings[2:]] == ["not reached", "not reached"]


@pytest.mark.parametrize(
    "changes",
    [
        {"secrets": ["WEBHOOK_ID"]},
        {"secrets": ["9XL90610J3647323C|x"]},
        {"secrets": ["short"]},
        {"certificate": "junk"},
        {"certificate": 5},
        {"certificate": ""},
        {"private_key": "junk"},
        {"certificate": certificate_of(OTHER_RSA)},
    ],
)
def test_a_senseless_webhook_or_certificate_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SETUP.scheme(**changes)


def test_only_paypal_signs_with_its_certificate() -> None:
    with pytest.raises(ConfigError, match="only PayPal"):
        SETUP.scheme(private_key="").sign(BODY, url="", now=NOW, delivery_id="msg_1")
    for delivery_id in ("", "a|b", "a b"):
        with pytest.raises(ConfigError, match="malformed-id"):
            SETUP.scheme().sign(BODY, url="", now=NOW, delivery_id=delivery_id)
