"""What can go wrong between us and Temporal: each cause with its sentence, and the way out of it.

The SDK reports most of these as a RuntimeError or as the status UNAVAILABLE; only the text tells them apart. The texts
are those of its network libraries (tonic, hyper, rustls), in two forms: `InvalidCertificate(UnknownIssuer)` from a
client that connects, and `invalid peer certificate: UnknownIssuer` from one that connects again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.service import RPCError, RPCStatusCode

from activities.redaction.text import REDACTED
from activities.target import Target

LONGEST_DETAIL: Final = 200
"""Characters shown of a text that Temporal or the SDK wrote."""


@dataclass(frozen=True)
class ConnectionCause:
    """Why Temporal cannot be used.

    word: for programs, in logs and at `/readyz`. says: for people, after "Temporal at ADDRESS: "; it names no setting's
    value, because `/readyz` is public. fix: what to do. is_final: waiting does not help; an operator must act.
    """

    word: str
    says: str
    fix: str
    is_final: bool = False


NOTHING_LISTENS: Final = ConnectionCause(
    "nothing-listens", "nothing listens there", "start Temporal (`make dev`), or correct TEMPORAL_ADDRESS"
)
UNKNOWN_NAME: Final = ConnectionCause(
    "unknown-name", "the host name does not resolve", "correct the host in TEMPORAL_ADDRESS, or this machine's DNS"
)
NO_ROUTE: Final = ConnectionCause(
    "no-route", "no route leads there", "check the host in TEMPORAL_ADDRESS, the network and its firewall"
)
NO_ANSWER_IN_TIME: Final = ConnectionCause(
    "no-answer",
    "no answer in time",
    "check the port in TEMPORAL_ADDRESS and the firewall; if they are right, Temporal is busy or has stopped: wait",
)
TLS_REQUIRED: Final = ConnectionCause(
    "tls-required", "the server requires TLS, and TLS is off", "set TEMPORAL_TLS=true", is_final=True
)
TLS_UNSUPPORTED: Final = ConnectionCause(
    "tls-unsupported",
    "the server has no TLS, and TLS is on",
    "give the address of a port with TLS, or set TEMPORAL_TLS=false on a private network",
    is_final=True,
)
TLS_FAILED: Final = ConnectionCause(
    "tls-failed", "the TLS handshake failed", "check TEMPORAL_ADDRESS and TEMPORAL_TLS_SERVER_NAME", is_final=True
)
UNTRUSTED: Final = ConnectionCause(
    "untrusted-certificate",
    "the server's certificate is not trusted",
    "give the certificate of the authority that issued it in TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    is_final=True,
)
OTHER_HOST: Final = ConnectionCause(
    "certificate-of-another-host",
    "the server's certificate is for another host name",
    "use that name in TEMPORAL_ADDRESS, or give it in TEMPORAL_TLS_SERVER_NAME",
    is_final=True,
)
EXPIRED_CERTIFICATE: Final = ConnectionCause(
    "expired-certificate",
    "the server's certificate has expired or is not valid yet",
    "renew that certificate, and check this machine's clock",
    is_final=True,
)
CLIENT_CERTIFICATE_MISSING: Final = ConnectionCause(
    "client-certificate-missing",
    "the server requires a client certificate",
    "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH",
    is_final=True,
)
CLIENT_CERTIFICATE_REFUSED: Final = ConnectionCause(
    "client-certificate-refused",
    "the server refuses our client certificate",
    "renew the certificate in TEMPORAL_TLS_CLIENT_CERT_PATH, or have the server trust its authority",
    is_final=True,
)
API_KEY_MISSING: Final = ConnectionCause(
    "api-key-missing", "the server requires an API key", "set TEMPORAL_API_KEY", is_final=True
)
API_KEY_REFUSED: Final = ConnectionCause(
    "api-key-refused",
    "the API key is wrong or has expired",
    "set TEMPORAL_API_KEY to a valid key, and start the process again",
    is_final=True,
)
PERMISSION_DENIED: Final = ConnectionCause(
    "permission-denied",
    "the permission is missing",
    "permit the API key or certificate to write in this namespace, and check TEMPORAL_NAMESPACE; some servers say this "
    "of a wrong key too",
    is_final=True,
)
NAMESPACE_MISSING: Final = ConnectionCause(
    "namespace-missing", "the namespace does not exist", "correct TEMPORAL_NAMESPACE, or create the namespace"
)
ANOTHER_SERVER: Final = ConnectionCause(
    "another-server",
    "the answer is not Temporal's",
    "give Temporal's gRPC port (7233) instead of its UI's; a proxy in front of it must pass gRPC on",
)
CLOSED: Final = ConnectionCause(
    "connection-closed",
    "the connection is closed before an answer",
    "check the port in TEMPORAL_ADDRESS, TEMPORAL_TLS, and that Temporal runs behind that address",
)
UNAVAILABLE: Final = ConnectionCause("unavailable", "it is not available", "wait; Temporal's own log tells more")
OTHER: Final = ConnectionCause(
    "other", "it cannot be used", "check TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TLS and TEMPORAL_API_KEY"
)

CAUSES: Final = (
    NOTHING_LISTENS,
    UNKNOWN_NAME,
    NO_ROUTE,
    NO_ANSWER_IN_TIME,
    TLS_REQUIRED,
    TLS_UNSUPPORTED,
    TLS_FAILED,
    UNTRUSTED,
    OTHER_HOST,
    EXPIRED_CERTIFICATE,
    CLIENT_CERTIFICATE_MISSING,
    CLIENT_CERTIFICATE_REFUSED,
    API_KEY_MISSING,
    API_KEY_REFUSED,
    PERMISSION_DENIED,
    NAMESPACE_MISSING,
    ANOTHER_SERVER,
    CLOSED,
    UNAVAILABLE,
    OTHER,
)
"""All causes. docs/deploy.md lists them."""


@dataclass(frozen=True)
class ConnectionFault:
    """A cause as it happened. detail: what the server or the SDK said of it, scrubbed, or ""."""

    cause: ConnectionCause
    detail: str = ""

    @property
    def says(self) -> str:
        """What is wrong, for our own log and terminal."""
        return f"{self.cause.says} ({self.detail})" if self.detail else self.cause.says

    def sentence(self, target: Target) -> str:
        """What is wrong, and where."""
        return f"{target}: {self.says}"


_STATUS: Final = re.compile(r'Status \{ code: (\w+), message: "((?:[^"\\]|\\.)*)"')
"""A status in an error of the SDK that is not an RPCError."""

_HTTP_STATUS: Final = re.compile(r"\Agrpc-status header missing, mapped from HTTP status code ([0-9]{3})")

_TRANSPORT: Final = re.compile(r"tonic::transport::Error\(Transport, (.*)", re.DOTALL)
"""The cause within a failed connection's error, from the client's own side."""

_AGAIN: Final = re.compile(
    r"\A(?:tcp connect error|dns error|invalid peer certificate: |received corrupt message|received fatal alert: "
    r"|transport error|operation was canceled|tls handshake eof|peer closed connection|h2 protocol error"
    r"|connection (?:reset|closed)|broken pipe)"
)
"""The texts of a client that cannot connect again. Servers use other texts for the same statuses: with UNAVAILABLE,
Temporal may say "connection refused" about a server of its own."""

_OF_THE_CLIENT: Final = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.INTERNAL,
}
"""The statuses that a client gives itself."""

_CLIENT_CERTIFICATE: Final = (
    r"(?:CertificateRequired|BadCertificate|UnsupportedCertificate|CertificateRevoked|CertificateExpired"
    r"|CertificateUnknown|UnknownCA|AccessDenied)"
)
_ALERT: Final = r"(?:AlertReceived\(|fatal alert: )"

# The first that matches decides.
_CAUSES_BY_TEXT: Final = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (r"dns error", UNKNOWN_NAME),
        (r"NetworkUnreachable|HostUnreachable|Network is unreachable|No route to host", NO_ROUTE),
        (r"TimedOut|timed out|deadline has elapsed", NO_ANSWER_IN_TIME),
        (r"tcp connect error", NOTHING_LISTENS),
        (r"InvalidContentType", TLS_UNSUPPORTED),
        (r"NotValidForName|certificate not valid for name", OTHER_HOST),
        (
            r"InvalidCertificate\((?:Expired|NotValidYet)|certificate (?:has )?expired|not valid yet",
            EXPIRED_CERTIFICATE,
        ),
        (r"InvalidCertificate|invalid peer certificate", UNTRUSTED),
        (_ALERT + _CLIENT_CERTIFICATE, CLIENT_CERTIFICATE_REFUSED),
        (_ALERT + r"(\w+)|PeerIncompatible|PeerMisbehaved", TLS_FAILED),
        (r"H2NotNegotiated|FRAME_SIZE_ERROR|h2 protocol error", ANOTHER_SERVER),
        (r"handshake eof|hyper::Error|transport error|canceled|[Cc]losed|[Rr]eset|broken pipe", CLOSED),
    )
)

_CAUSES_BY_STATUS: Final = {
    "UNAUTHENTICATED": API_KEY_REFUSED,
    "PERMISSIONDENIED": PERMISSION_DENIED,
    "UNAVAILABLE": UNAVAILABLE,
    "DEADLINEEXCEEDED": NO_ANSWER_IN_TIME,
    "CANCELLED": NO_ANSWER_IN_TIME,  # the SDK's status for a request that timed out
}

_TOLD: Final = {API_KEY_REFUSED, API_KEY_MISSING, PERMISSION_DENIED, UNAVAILABLE}
"""Causes that Temporal tells in words of its own, which may help."""


def recognize(error: BaseException, target: Target) -> ConnectionFault | None:
    """The fault with the connection to Temporal that an error of the SDK is a sign of; None if it is a sign of none.

    Returns CLOSED for some errors of which `tls_probe` can tell more.
    """
    if isinstance(error, RPCError):
        status, said = error.status.name, error.message
        text = said if error.status in _OF_THE_CLIENT and _AGAIN.match(said) else ""
        if is_namespace_missing(error):
            return ConnectionFault(NAMESPACE_MISSING)
    elif isinstance(error, RuntimeError):
        chain = _texts(error)
        found, failed = _STATUS.search(chain), _TRANSPORT.search(chain)
        status, said = (found[1], found[2]) if found else ("", "")
        text = failed[1] if failed else ""
        if "NamespaceNotFoundFailure" in chain:
            return ConnectionFault(NAMESPACE_MISSING)
    else:
        return None
    if answered := _HTTP_STATUS.match(said):
        return ConnectionFault(ANOTHER_SERVER, f"HTTP status {answered[1]}")
    return _by_text(text, target) or _by_status(status, said, target) or _of_a_connection(error, target)


def is_namespace_missing(error: RPCError) -> bool:
    """Whether a NOT_FOUND error is about the namespace instead of a run."""
    return error.status is RPCStatusCode.NOT_FOUND and any(
        detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
    )


def _by_text(text: str, target: Target) -> ConnectionFault | None:
    for pattern, cause in _CAUSES_BY_TEXT:
        if not (found := pattern.search(text)):
            continue
        if cause is CLIENT_CERTIFICATE_REFUSED and target.tls != "mtls":
            return ConnectionFault(CLIENT_CERTIFICATE_MISSING)
        if cause is OTHER_HOST:
            return ConnectionFault(cause, _scrubbed(", ".join(re.findall(r'DnsName\(\\*"([^"\\]+)', text)), target))
        return ConnectionFault(cause, found[1] or "" if pattern.groups else "")
    return None


def _by_status(status: str, said: str, target: Target) -> ConnectionFault | None:
    cause = _CAUSES_BY_STATUS.get(status.replace("_", "").upper())
    if cause is None:
        return None
    if cause is API_KEY_REFUSED and not target.api_key:
        cause = API_KEY_MISSING
    return ConnectionFault(cause, _scrubbed(said, target) if cause in _TOLD else "")


def _of_a_connection(error: BaseException, target: Target) -> ConnectionFault | None:
    """The fault of an error that says that it is about the connection, and not more that is known here."""
    text = str(error)
    if isinstance(error, RPCError) or "connect" not in text.lower():
        return None
    return ConnectionFault(OTHER, _scrubbed(text, target))


def _texts(error: BaseException) -> str:
    """The error's text, and those of its causes: the SDK raises `Activity worker failed` from what happened."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause and len(texts) < 10:
        texts.append(str(cause))
        cause = cause.__cause__
    return "\n".join(texts)


def _scrubbed(text: str, target: Target) -> str:
    """The text without the API key, in one short line of printable characters."""
    if target.api_key:
        text = text.replace(target.api_key, REDACTED.decode())
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= LONGEST_DETAIL else line[: LONGEST_DETAIL - 1] + "…"
