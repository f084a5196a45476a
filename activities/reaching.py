"""Reaching: why a partner, or a token endpoint or proxy on the way, was not reached, in words that quote nothing."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import httpx

from activities.connection import DIRECT, Connection

WANTS_CERTIFICATE: Final = "it requires a client certificate"
OURS_REFUSED: Final = "it refuses our client certificate"

UNKNOWN_HOST: Final = "the host name does not resolve"
NO_LISTENER: Final = "nothing listens there"
OF_THE_WAY: Final = (UNKNOWN_HOST, NO_LISTENER)
"""Causes that are the proxy's if there is one: it is what we connect to."""

ALERTS: Final = (
    (re.compile(r"ALERT_CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE"), WANTS_CERTIFICATE),
    (re.compile(r"ALERT_CERTIFICATE_EXPIRED"), "it says that our client certificate has expired"),
    (re.compile(r"ALERT_CERTIFICATE_REVOKED"), "it says that our client certificate was revoked"),
    (
        re.compile(r"ALERT_(?:BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_UNKNOWN|UNKNOWN_CA|ACCESS_DENIED)"),
        OURS_REFUSED,
    ),
)
"""TLS alerts by which a server ends the handshake because of our certificate (RFC 8446, 6.2)."""

OF_OURS: Final = tuple(says for _, says in ALERTS)

VERIFY_ERRORS: Final = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    62: "its certificate is for another host name",
    64: "its certificate is for another host name",
    **dict.fromkeys((2, 18, 19, 20, 21), "its certificate is not from an authority that is trusted"),
}
"""By OpenSSL's codes, X509_V_ERR_..."""


def plain_words(error: BaseException, connection: Connection = DIRECT) -> str:
    """The error's type, and what is known of its cause. connection: how the partner is reached."""
    why = _why(error)
    if connection.certificate and why in {"", *OF_OURS}:
        # A server may also close the connection without a reason that arrives.
        why = next(connection.flaws_of_ours(datetime.now(UTC)), why)
    if connection.proxy and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and why in {"", *OF_THE_WAY}:
        why = f"its proxy, {why}" if why else "its proxy"
    return f"{type(error).__name__}: {why}" if why else type(error).__name__


def is_refused_handshake(error: BaseException) -> bool:
    """Whether the server has ended the TLS handshake because of our client certificate, or the lack of one.

    With TLS 1.3 a client learns that only after it has sent its request, which the server never reads.
    """
    return any(isinstance(one, ssl.SSLError) and _alert(one) for one in _causes(error))


def _why(error: BaseException) -> str:
    if isinstance(error, httpx.ProxyError):
        status = re.match(r"[1-5][0-9]{2}\b", str(error))
        return f"the proxy answers {status[0]}" if status else "the proxy refuses the connection"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return VERIFY_ERRORS.get(cause.verify_code, f"its certificate cannot be verified, code {cause.verify_code}")
        if isinstance(cause, ssl.SSLError) and (alert := _alert(cause)):
            return alert
        if isinstance(cause, ssl.SSLError) and isinstance(error, httpx.ConnectError):
            return "the TLS handshake failed"
        if isinstance(cause, socket.gaierror):
            return UNKNOWN_HOST
        if isinstance(cause, ConnectionRefusedError):
            return NO_LISTENER
    return ""


def _alert(error: ssl.SSLError) -> str:
    return next((says for pattern, says in ALERTS if pattern.search(error.reason or "")), "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and what it was raised from."""
    left, seen = [error], 0
    while left and (seen := seen + 1) < 30:
        one = left.pop(0)
        yield one
        left += list(one.exceptions) if isinstance(one, BaseExceptionGroup) else []
        left += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
