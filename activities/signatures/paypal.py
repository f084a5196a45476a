"""PayPal: a signature over four texts, by a certificate of PayPal's whose URL a header names.

The fourth text is the CRC-32 of the body. It is easy to make other bytes with the same checksum. So a signature
proves the body only against a forger who has never seen a signed request; TLS hides the requests on their way.

PayPal publishes the certificate alone, without those of its issuer. What makes it PayPal's is that it comes from a host
of PayPal's over https, and names one.

Source: developer.paypal.com/api/rest/webhooks/rest, "Self verification method".
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Sequence
from typing import ClassVar, Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from activities.signatures.asymmetric_keys import KeyPairScheme
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    SignatureError,
    SignedRequest,
    Verified,
    check_id,
    decode_base64,
)
from activities.signatures.signing_certificates import CertificateSignatures, load_certificate
from activities.signatures.times import read_milliseconds, write_time

PAYPAL_CERTIFICATE_URLS: Final = re.compile(
    r"https://(?:[a-z0-9][a-z0-9-]{0,61}\.){1,3}paypal\.com/v1/notifications/certs/[A-Za-z0-9_-]{1,100}(?:\.pem)?"
)
PAYPAL_NAME: Final = re.compile(r"(?:[a-z0-9-]{1,63}\.){1,3}paypal\.com")
"""Matches the common name of PayPal's certificates, such as messageverificationcerts.paypal.com."""

WEBHOOK_ID: Final = re.compile(r"[A-Za-z0-9-]{8,64}")
SIGNATURE_ALGORITHM: Final = "SHA256withRSA"
SAMPLE_CERTIFICATE_URL: Final = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-0"
"""What `sign` writes: the certificate that signs is a pinned one."""


class PayPal(KeyPairScheme):
    """PayPal: RSA with SHA-256 over transmission id, time, webhook id and the CRC-32 of the body.

    A secret is the id of a webhook: PayPal signs for all customers, so only the id proves for whom an event is. The
    certificate is fetched from PayPal, in the background. certificate: a certificate in PEM that is used instead, for
    tests and the sandbox; private_key: its other half, only for signing. Anyone who has seen a signed request can send
    another body with the same checksum: for what must be certain, answer `ask`, and ask PayPal's API.
    """

    name = "paypal"
    covers_body = False
    covers_event = True
    covers_time = True
    event_proof: ClassVar[str] = "a checksum of the body"
    body_limits: ClassVar[str] = (
        "the body, but by its CRC-32: anyone who has seen a signed request can send other bytes with the same checksum"
    )
    header = "PAYPAL-TRANSMISSION-SIG"
    signing_advice = "give --certificate and --private-key-file FILE: only PayPal can sign with its own"
    options: ClassVar[tuple[str, ...]] = ("certificate",)

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        certificate: str = "",
        private_key: str = "",
        tolerance: int = DEFAULT_TOLERANCE,
    ) -> None:
        self._signatures = CertificateSignatures(
            "PayPal",
            PAYPAL_CERTIFICATE_URLS,
            certificate=certificate,
            private_key=private_key,
            read=load_paypal_certificate,
        )
        super().__init__(secrets, tolerance=tolerance)

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        if not all(WEBHOOK_ID.fullmatch(secret) for secret in secrets):
            raise ConfigError("a secret is not the id of a webhook, such as 1AB23456CD789012E")
        self._webhook_ids = list(secrets)

    def prepare(self, *, wait: float = 0.0) -> None:
        """Wait for the certificates that requests have named; until then, none is known."""
        self._signatures.wait(wait)

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the signature for every webhook id."""
        if request.one("PAYPAL-AUTH-ALGO") != SIGNATURE_ALGORITHM:
            raise SignatureError("malformed-header", f"PAYPAL-AUTH-ALGO is not {SIGNATURE_ALGORITHM}")
        url = request.one("PAYPAL-CERT-URL")
        self._signatures.check_url(url)
        delivery_id = _checked_id(request.one("PAYPAL-TRANSMISSION-ID"))
        time = request.one("PAYPAL-TRANSMISSION-TIME")
        moment = self._near(_milliseconds(time), now)
        try:
            signature = decode_base64(request.one(self.header))
        except ValueError as error:
            raise SignatureError("malformed-header", f"{self.header} is not base64") from error
        mismatch: SignatureError | None = None
        for index, webhook_id in enumerate(self._webhook_ids):
            try:
                text = signed_text(delivery_id, time, webhook_id, request.body)
                self._signatures.verify(url, signature, text, SHA256(), now)
            except SignatureError as error:
                if error.reason != "mismatch":
                    raise
                mismatch = error
            else:
                return Verified(index, moment, delivery_id)
        raise mismatch or SignatureError("mismatch")

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the headers, signed with the pinned certificate; raises `ConfigError` without a private key."""
        time = write_time(now, "iso")
        try:
            text = signed_text(_checked_id(delivery_id), time, self._webhook_ids[0], body)
        except SignatureError as error:
            raise ConfigError(str(error)) from error
        return [
            ("PAYPAL-AUTH-ALGO", SIGNATURE_ALGORITHM),
            ("PAYPAL-CERT-URL", SAMPLE_CERTIFICATE_URL),
            ("PAYPAL-TRANSMISSION-ID", delivery_id),
            ("PAYPAL-TRANSMISSION-TIME", time),
            (self.header, base64.b64encode(self._signatures.sign(text)).decode()),
        ]

    def explanation(self) -> list[tuple[str, str]]:
        """Add the signed text."""
        signed = "{PAYPAL-TRANSMISSION-ID}|{PAYPAL-TRANSMISSION-TIME}|{webhook id}|{CRC-32 of the body}"
        return [*super().explanation(), ("signed", signed)]


def signed_text(delivery_id: str, time: str, webhook_id: str, body: bytes) -> bytes:
    """Return the text that PayPal signs."""
    return f"{delivery_id}|{time}|{webhook_id}|{zlib.crc32(body)}".encode()


def load_paypal_certificate(pem: bytes) -> x509.Certificate:
    """Return the first certificate of the text, if it names a host of PayPal's; raises `ConfigError`."""
    certificate = load_certificate(pem)
    names = [name.value for name in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if not any(isinstance(name, str) and PAYPAL_NAME.fullmatch(name) for name in names):
        raise ConfigError("the certificate's name is not one of PayPal's")
    return certificate


def _checked_id(delivery_id: str) -> str:
    """Return the id; raises `SignatureError` if it could be taken for two of the signed texts."""
    if "|" in delivery_id:
        raise SignatureError("malformed-id", "it has a |, which ends it in the signed text")
    return check_id(delivery_id)


def _milliseconds(text: str) -> int:
    try:
        return read_milliseconds(text, "iso")
    except ValueError as error:
        raise SignatureError("malformed-timestamp", f"PAYPAL-TRANSMISSION-TIME: {error}") from error
