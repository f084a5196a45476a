"""What the SDK says of a failed connection, and what is made of it. The texts are those that it was seen to say."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import pytest
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from activities import connection_errors as causes
from activities.client import TemporalUnreachable
from activities.connection_errors import LONGEST_DETAIL, ConnectionCause, recognize
from activities.operations import _send as send
from activities.runs import Runs
from activities.target import Target
from activities.worker import WorkerStopped, _run
from workflows.contract import Command

SECRET = "an-api-key-of-temporal-cloud"
TLS = Target("temporal.test:7233", tls="on", api_key=SECRET)
MUTUAL = Target("temporal.test:7233", tls="mtls")

CONNECTING = "Failed client connect: Server connection error: tonic::transport::Error(Transport, "
CALLING = "Failed client connect: `get_system_info` call error after connection: Status { code: "
SOURCE = "source: Some(tonic::transport::Error(Transport, hyper::Error("
ALERT = CONNECTING + "ConnectError(Custom { kind: InvalidData, error: AlertReceived("


def rpc(status: RPCStatusCode, said: str) -> RPCError:
    return RPCError(said, status, GrpcStatus().SerializeToString())


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            f'{CONNECTING}ConnectError(ConnectError("tcp connect error", 10.0.0.1:7233, Os {{ code: 111, '
            'kind: ConnectionRefused, message: "Connection refused" })))',
            causes.NOTHING_LISTENS,
        ),
        (
            f'{CONNECTING}ConnectError(ConnectError("tcp connect error", 10.0.0.1:7233, Os {{ code: 113, '
            'kind: HostUnreachable, message: "No route to host" })))',
            causes.NO_ROUTE,
        ),
        (
            f'{CONNECTING}ConnectError(ConnectError("tcp connect error", 10.0.0.1:7233, Os {{ code: 110, '
            'kind: TimedOut, message: "Connection timed out" })))',
            causes.NO_ANSWER_IN_TIME,
        ),
        (f"{ALERT}CertificateRequired) }}))", causes.CLIENT_CERTIFICATE_MISSING),
        (f"{ALERT}HandshakeFailure) }}))", causes.TLS_FAILED),
        (f"{CONNECTING}ConnectError(H2NotNegotiated))", causes.ANOTHER_SERVER),
        (f'{CONNECTING}ConnectError(Custom {{ kind: UnexpectedEof, error: "tls handshake eof" }}))', causes.CLOSED),
        (
            f'{CALLING}Unknown, message: "transport error", {SOURCE}Io, Custom {{ kind: BrokenPipe }}))) }}',
            causes.CLOSED,
        ),
        (
            f'{CALLING}Internal, message: "h2 protocol error: http2 error", {SOURCE}Http2, Error {{ '
            'kind: GoAway(b"", FRAME_SIZE_ERROR, Library) }))) }',
            causes.ANOTHER_SERVER,
        ),
        (f"{CONNECTING}SomethingNew)", causes.OTHER),
    ],
)
def test_a_failed_connection_is_told_by_its_text(text: str, cause: ConnectionCause) -> None:
    found = recognize(RuntimeError(text), TLS)
    assert found
    assert found.cause is cause


def test_a_refused_client_certificate_is_not_called_missing() -> None:
    found = recognize(RuntimeError(f"{ALERT}UnknownCA) }}))"), MUTUAL)
    assert found
    assert found.cause is causes.CLIENT_CERTIFICATE_REFUSED


@pytest.mark.parametrize(
    ("status", "said", "cause"),
    [
        ("UNAVAILABLE", "tcp connect error", causes.NOTHING_LISTENS),
        ("UNAVAILABLE", "dns error", causes.UNKNOWN_NAME),
        ("UNAVAILABLE", "invalid peer certificate: UnknownIssuer", causes.UNTRUSTED),
        (
            "UNAVAILABLE",
            'invalid peer certificate: certificate not valid for name "a"; certificate is only valid for DnsName("b")',
            causes.OTHER_HOST,
        ),
        (
            "UNAVAILABLE",
            "invalid peer certificate: certificate expired: verification time 1795750567 (UNIX), but",
            causes.EXPIRED_CERTIFICATE,
        ),
        ("UNAVAILABLE", "received corrupt message of type InvalidContentType", causes.TLS_UNSUPPORTED),
        ("CANCELLED", "operation was canceled", causes.CLOSED),
        ("CANCELLED", "Timeout expired", causes.NO_ANSWER_IN_TIME),
        ("UNAUTHENTICATED", "API key expired", causes.API_KEY_REFUSED),
        ("PERMISSION_DENIED", "Request unauthorized.", causes.PERMISSION_DENIED),
    ],
)
def test_a_client_that_cannot_go_on_tells_the_cause(status: str, said: str, cause: ConnectionCause) -> None:
    found = recognize(rpc(RPCStatusCode[status], said), TLS)
    assert found
    assert found.cause is cause


def test_a_server_of_temporals_own_that_is_away_is_not_ours() -> None:
    """Temporal's own words hold those of a failed connection."""
    said = "last connection error: connection error: dial tcp 10.0.0.1:7234: connect: connection refused"
    found = recognize(rpc(RPCStatusCode.UNAVAILABLE, said), TLS)
    assert found
    assert found.cause is causes.UNAVAILABLE


@pytest.mark.parametrize(
    "error",
    [rpc(RPCStatusCode.INVALID_ARGUMENT, "tcp connect error: no"), RuntimeError("a bug"), ValueError("connect")],
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert recognize(error, TLS) is None


def test_a_namespace_that_is_missing_is_told_from_a_missing_run() -> None:
    detail = GrpcStatus()
    detail.details.add().Pack(NamespaceNotFoundFailure(namespace="orders"))
    missing = RPCError("Namespace orders is not found.", RPCStatusCode.NOT_FOUND, detail.SerializeToString())
    found = recognize(missing, TLS)
    assert found
    assert found.cause is causes.NAMESPACE_MISSING
    assert recognize(rpc(RPCStatusCode.NOT_FOUND, "workflow not found"), TLS) is None


def test_what_a_server_says_is_short_and_holds_no_key() -> None:
    found = recognize(rpc(RPCStatusCode.UNAUTHENTICATED, f"bad\x1b[31m\n{SECRET} {'x' * 1000}"), TLS)
    assert found
    assert found.detail.startswith("bad [31m [redacted] xxx")
    assert len(found.detail) == LONGEST_DETAIL
    assert SECRET not in f"{found} {TLS!r} {TLS} {TLS.facts}"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Poll failure: Unhandled grpc error when polling", WorkerStopped),
        (
            "Worker validation failed: Namespace x was not found or otherwise could not be described",
            TemporalUnreachable,
        ),
    ],
)
async def test_a_worker_that_is_refused_says_why(words: str, kind: type[Exception]) -> None:
    said = f'{words}: Status {{ code: Unauthenticated, message: "API key expired", source: None }}'
    failed = RuntimeError("Activity worker failed" if kind is WorkerStopped else said)
    failed.__cause__ = RuntimeError(said)
    with pytest.raises(TemporalUnreachable) as raised:
        await _run(Mock(run=AsyncMock(side_effect=failed)), TLS)
    assert type(raised.value) is kind
    assert str(raised.value).endswith("namespace default: the API key is wrong or has expired (API key expired)")


async def test_a_command_that_is_not_permitted_is_not_called_unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = AsyncMock(side_effect=rpc(RPCStatusCode.PERMISSION_DENIED, "Request unauthorized."))
    monkeypatch.setattr(WorkflowHandle, "execute_update", refused)
    runs = Runs(await Client.connect("127.0.0.1:9", lazy=True))
    with pytest.raises(TemporalUnreachable, match="the permission is missing"):
        await send(runs, "run", Command("id-1", "succeed", 1, "alice", "as agreed"))
