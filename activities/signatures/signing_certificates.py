"""Certificates that a provider publishes, and whose URL it names in each request.

A URL is fetched only if it is one of the provider's own, as the scheme's pattern says. That it comes from there over
https is what makes the certificate the provider's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from activities.signatures.asymmetric_keys import (
    READING_FAILED,
    PrivateKey,
    PublicKey,
    checked_key,
    load_private_key,
)
from activities.signatures.fetched import Fetched
from activities.signatures.scheme import ConfigError, KeyUnavailable, SignatureError

MOST_FETCHED: Final = 8
"""Certificates that are kept. A provider has one or two at a time."""

MOST_PENDING: Final = 8
"""URLs without a certificate that are remembered: anyone can name URLs of the provider at which there is none."""

NEW_URL_PAUSE: Final = 2.0
"""Seconds after which another URL is fetched for the first time. Up to `MOST_PENDING` of these may come at once, so
that some invented URLs do not delay the certificate; each costs a request to the provider, and some CPU."""

ReadCertificate = Callable[[bytes], x509.Certificate]


class CertificateSignatures:
    """RSA signatures (PKCS#1 v1.5) by a certificate that the provider publishes, or by a pinned one.

    provider: its name. urls: its own URLs. read: reads a fetched certificate; raises `ConfigError`. certificate: a
    certificate in PEM that is used instead of the provider's, "" for none. private_key: its other half, only for
    signing. Raises `ConfigError`.
    """

    def __init__(
        self,
        provider: str,
        urls: re.Pattern[str],
        *,
        certificate: str,
        private_key: str,
        read: ReadCertificate | None = None,
    ) -> None:
        self._provider = provider
        self._published = Certificates(urls, read=read)
        self._pinned = _pinned(certificate) if certificate else None
        self._private = _private(private_key, self._pinned) if private_key else None

    def check_url(self, url: str) -> None:
        """Raise `SignatureError` unless the URL is one of the provider's."""
        self._published.check_url(url)

    def verify(self, url: str, signature: bytes, text: bytes, digest: hashes.HashAlgorithm, now: float) -> None:
        """Check the signature with the certificate at the URL, or the pinned one; raises `SignatureError`."""
        key = key_of(self._pinned, now) if self._pinned is not None else self._published.key_at(url, now)
        if not isinstance(key, rsa.RSAPublicKey):
            raise SignatureError("malformed-header", "the certificate's key is not an RSA key")
        try:
            key.verify(signature, text, padding.PKCS1v15(), digest)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:  # some systems have switched SHA-1 off
            raise SignatureError("mismatch", "the request is not signed with the certificate") from error

    def sign(self, text: bytes) -> bytes:
        """Return the signature with SHA-256; raises `ConfigError` without a private key."""
        if not isinstance(self._private, rsa.RSAPrivateKey):
            raise ConfigError(f"only {self._provider} can sign with its certificate: give certificate and private_key")
        return self._private.sign(text, padding.PKCS1v15(), hashes.SHA256())

    def wait(self, seconds: float) -> None:
        """Wait for the fetches that are running, for each at most so long."""
        self._published.wait(seconds)


class Certificates:
    """The certificates at the URLs that match the pattern, fetched in the background."""

    def __init__(
        self,
        urls: re.Pattern[str],
        clock: Callable[[], float] = time.monotonic,
        read: ReadCertificate | None = None,
    ) -> None:
        self._urls = urls
        self._clock = clock
        self._read = read or load_certificate
        self._fetched: dict[str, Fetched[x509.Certificate]] = {}
        self._next_at = float("-inf")

    def check_url(self, url: str) -> None:
        """Raise `SignatureError` unless the URL is one of the provider's."""
        if not self._urls.fullmatch(url):
            raise SignatureError("malformed-header", "the certificate's URL is not one of the provider's")

    def key_at(self, url: str, now: float) -> PublicKey:
        """Return the public key of the certificate there. now: unix seconds.

        Raises `SignatureError`, or `KeyUnavailable` while it is not there.
        """
        self.check_url(url)
        if url not in self._fetched:
            self._make_room()
            self._fetched[url] = Fetched(url, self._read, self._clock)
        if (copy := self._fetched[url].get()) is None:
            raise KeyUnavailable("the provider's certificate has not been fetched yet")
        return key_of(copy.document, now)

    def wait(self, seconds: float) -> None:
        """Wait for the fetches that are running, for each at most so long."""
        for fetched in self._fetched.values():
            fetched.wait(seconds)

    def _make_room(self) -> None:
        """Forget a URL if there are too many; raises `KeyUnavailable` if too many have been named just now."""
        pending = [url for url, fetched in self._fetched.items() if not fetched.is_there]
        ended = [url for url in pending if not self._fetched[url].is_fetching]
        if len(pending) >= MOST_PENDING and not ended:
            raise KeyUnavailable("too many certificates are being fetched")
        self._take_turn()
        if len(pending) >= MOST_PENDING:
            del self._fetched[ended[0]]
        elif len(self._fetched) >= MOST_FETCHED + MOST_PENDING:
            del self._fetched[next(iter(self._fetched))]

    def _take_turn(self) -> None:
        """Count a new URL; raises `KeyUnavailable` if it comes too soon. Up to `MOST_PENDING` unused turns are kept."""
        now = self._clock()
        turn = max(self._next_at, now - (MOST_PENDING - 1) * NEW_URL_PAUSE)
        if turn > now:
            raise KeyUnavailable("too many URLs of certificates were named just now")
        self._next_at = turn + NEW_URL_PAUSE


def load_certificate(pem: bytes) -> x509.Certificate:
    """Return the first certificate of the text; raises `ConfigError`."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        checked_key(certificate.public_key())
    except READING_FAILED as error:
        raise ConfigError("it is not a certificate in PEM with an unbroken key") from error
    return certificate


def key_of(certificate: x509.Certificate, now: float) -> PublicKey:
    """Return the public key; raises `SignatureError` if the certificate is not valid at the time."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins.timestamp() <= now <= ends.timestamp():  # `not <=`, so that a NaN clock fails
        raise SignatureError("stale", "the provider's certificate is not valid now")
    return checked_key(certificate.public_key())


def _pinned(pem: str) -> x509.Certificate:
    if not isinstance(pem, str):
        raise ConfigError("certificate is not a text")
    return load_certificate(pem.replace("\\n", "\n").encode())


def _private(text: str, certificate: x509.Certificate | None) -> PrivateKey:
    key = load_private_key(text)
    if certificate is None or key.public_key() != certificate.public_key():
        raise ConfigError("private_key is not the other half of the certificate's key")
    return key
