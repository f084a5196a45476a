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

from activities.signatures.asymmetric_keys import READING_FAILED, PublicKey, checked_key
from activities.signatures.fetched import FETCH_PAUSE, Fetched
from activities.signatures.scheme import ConfigError, KeyUnavailable, SignatureError

MOST_FETCHED: Final = 8
"""Certificates that are kept. A provider has one or two at a time."""

MOST_PENDING: Final = 4
"""URLs without a certificate that are remembered: anyone can name URLs of the provider at which there is none."""


class Certificates:
    """The certificates at the URLs that match the pattern, fetched in the background."""

    def __init__(self, urls: re.Pattern[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._urls = urls
        self._clock = clock
        self._fetched: dict[str, Fetched[x509.Certificate]] = {}
        self._seen: dict[str, float] = {}

    def key_at(self, url: str, now: float) -> PublicKey:
        """Return the public key of the certificate there. now: unix seconds.

        Raises `SignatureError`, or `KeyUnavailable` while it is not there.
        """
        if not self._urls.fullmatch(url):
            raise SignatureError("malformed-header", "the certificate's URL is not one of the provider's")
        if url not in self._fetched:
            self._make_room()
            self._fetched[url], self._seen[url] = Fetched(url, load_certificate, self._clock), self._clock()
        if (copy := self._fetched[url].get()) is None:
            raise KeyUnavailable("the provider's certificate has not been fetched yet")
        return key_of(copy.document, now)

    def wait(self, seconds: float) -> None:
        """Wait for the fetches that are running, for each at most so long."""
        for fetched in self._fetched.values():
            fetched.wait(seconds)

    def _make_room(self) -> None:
        """Forget a URL if there are too many; raises `KeyUnavailable` if all have been named just now."""
        pending = [url for url, fetched in self._fetched.items() if not fetched.is_there]
        if len(pending) >= MOST_PENDING:
            if self._clock() - self._seen[pending[0]] < FETCH_PAUSE:
                raise KeyUnavailable("too many certificates are being fetched")
            del self._fetched[pending[0]]
        elif len(self._fetched) >= MOST_FETCHED + MOST_PENDING:
            del self._fetched[next(iter(self._fetched))]


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
