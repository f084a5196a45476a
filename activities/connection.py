"""Connection: how requests reach a partner: with a client certificate, a private authority, a proxy.

A variable may hold a certificate itself, in PEM, or name its file: many platforms give a process nothing but variables.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from activities.certificates import check_pair, read_certificate
from activities.environment import AUTHORITY, Environment

PEM: Final = "-----BEGIN"
LARGEST_FILE: Final = 256 * 1024


@dataclass(frozen=True)
class Connection:
    """A way to a partner. The default is a direct one, with the public authorities and no client certificate.

    certificate: our client certificate in PEM, followed by those between it and its authority.
    key: its private key in PEM, without a password.
    authority: the certificates of the only authorities that may have issued the partner's certificate; "" for the
        public ones.
    proxy: the URL of an HTTP proxy, such as `http://user:password@proxy.example:3128`.
    """

    certificate: str = ""
    key: str = field(default="", repr=False)
    authority: str = ""
    proxy: str = field(default="", repr=False)

    def transport(self, limits: httpx.Limits) -> httpx.AsyncHTTPTransport:
        """Return a pool of such connections. Raises `ssl.SSLError` for a certificate or key that cannot be used."""
        proxy = httpx.Proxy(self.proxy) if self.proxy else None
        return httpx.AsyncHTTPTransport(verify=_context(self), limits=limits, trust_env=False, proxy=proxy)

    def flaws(self, now: datetime) -> Iterator[str]:
        """Say which certificates have expired, or are not valid yet."""
        yield from self.flaws_of_ours(now)
        yield from _flaws("its authority's certificate", self.authority, now)

    def flaws_of_ours(self, now: datetime) -> Iterator[str]:
        """Say it of our client certificate and those after it."""
        yield from _flaws("our client certificate", self.certificate, now)


def _flaws(whose: str, pem: str, now: datetime) -> Iterator[str]:
    from cryptography.x509 import load_pem_x509_certificates  # takes 40 ms

    for certificate in load_pem_x509_certificates(pem.encode()) if pem else ():
        if now > certificate.not_valid_after_utc:
            yield f"{whose} has expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
        elif now < certificate.not_valid_before_utc:
            yield f"{whose} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"


@lru_cache(maxsize=100)  # the pools of a partner share it; it takes 20 ms to read the public authorities
def _context(way: Connection) -> ssl.SSLContext:
    """Return what TLS connections to a partner are made with. Raises `ssl.SSLError`."""
    if way.authority:
        context = ssl.create_default_context(cadata=way.authority)
        # Private authorities often issue certificates without the extensions that Python 3.13 asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    else:
        context = httpx.create_ssl_context(trust_env=False)
    if way.certificate:
        # OpenSSL reads these from a file only. This one is readable by our user alone, and gone right afterwards.
        with tempfile.NamedTemporaryFile("w", prefix="stagehook-") as file:
            file.write(f"{way.certificate}\n{way.key}\n")
            file.flush()
            context.load_cert_chain(file.name, password=_no_password)
    return context


def _no_password() -> str:
    """Refuse a key with a password: OpenSSL would ask for it on the terminal."""
    raise ssl.SSLError("the private key is protected by a password")


DIRECT: Final = Connection()


def connection(environment: Environment, prefix: str) -> Connection:
    """Read a connection from the variables PREFIX_CLIENT_CERT, _CLIENT_KEY, _CA_CERT and _PROXY_URL.

    Each may be missing. The first three hold PEM, or the path of a file with it. What cannot be used becomes a fault of
    the environment. An expired certificate does not, so that it stops only its partner; `stagehook doctor` tells it.
    """
    names = {part: f"{prefix}_{part}" for part in ("CLIENT_CERT", "CLIENT_KEY", "CA_CERT", "PROXY_URL")}
    certificate, key, authority = (_pem(environment, names[part]) for part in ("CLIENT_CERT", "CLIENT_KEY", "CA_CERT"))
    given = {part for part in ("CLIENT_CERT", "CLIENT_KEY") if environment.optional(names[part])}
    if len(given) == 1:
        [one] = given
        other = "CLIENT_KEY" if one == "CLIENT_CERT" else "CLIENT_CERT"
        environment.fault(names[one], f"is set, and {names[other]} is not", "set both, or neither")
    elif certificate and key:
        pair = (names["CLIENT_CERT"], names["CLIENT_KEY"])
        check_pair(certificate.encode(), key.encode(), pair, environment)
    if authority:
        read_certificate(authority.encode(), names["CA_CERT"], environment)
    proxy = environment.optional(names["PROXY_URL"]).rstrip("/")
    if proxy and not _is_proxy_url(proxy):
        fix = "use a URL such as http://user:password@proxy.example:3128"
        environment.fault(names["PROXY_URL"], "is not the URL of an HTTP proxy", fix)
    made = Connection(certificate, key, authority, proxy)
    if not environment.faults:
        try:
            _context(made)
        except (ssl.SSLError, OSError):  # what OpenSSL refuses, and `cryptography` reads: a key of 512 bits, say
            environment.fault(names["CLIENT_CERT"], "cannot be used by OpenSSL", "have a certificate of today made")
    return made


def _pem(environment: Environment, name: str) -> str:
    """The PEM of a variable, or of the file that it names."""
    value = environment.optional(name)
    if not value or PEM in value:
        # Some platforms keep only one line of a variable, with its line breaks escaped.
        return value.replace("\\n", "\n")
    try:
        with Path(value).open("rb") as file:
            return file.read(LARGEST_FILE).decode("ascii")
    except (OSError, ValueError):
        environment.fault(name, "is neither PEM nor the path of a readable file", "give the PEM itself, or its path")
        return ""


def _is_proxy_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_there = AUTHORITY.fullmatch(parts.netloc.rpartition("@")[2]) is not None and parts.port is not None
        httpx.URL(url)  # refuses control characters, for example
    except (ValueError, httpx.InvalidURL):
        return False
    return is_there and parts.scheme in {"http", "https"} and not (parts.path or parts.query or parts.fragment)
