"""Amazon SNS: only our topic, only Amazon's certificates, and no field taken for another."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA1

from activities.signatures import ConfigError, KeyUnavailable, SignatureError, SignedRequest, sns
from activities.signatures import signing_certificates as certificates
from activities.signatures.fetched import FETCH_PAUSE
from tests.parts.clocks import Clock
from tests.parts.key_servers import KeyServer, key_server
from tests.parts.rsa_keys import OTHER_RSA, RSA
from tests.parts.setups import EC, NOW, SETUPS, SNS, SNS_CERTIFICATE, TOPIC, certificate_of

SETUP = SETUPS["sns"]


def message(**changes: Any) -> dict[str, Any]:
    """A signed message, of which fields are then changed; None removes a field."""
    fields = {**json.loads(SETUP.signed().body), **changes}
    return {name: value for name, value in fields.items() if value is not None}


def sent(document: Any) -> SignedRequest:
    return SignedRequest("POST", "", [], document if isinstance(document, bytes) else json.dumps(document).encode())


def signed_by_hand(fields: dict[str, Any], names: tuple[str, ...], version: str = "1") -> SignedRequest:
    text = "".join(f"{name}\n{fields[name]}\n" for name in names)
    signature = RSA.sign(text.encode(), padding.PKCS1v15(), SHA1())
    return sent({**fields, "SignatureVersion": version, "Signature": base64.b64encode(signature).decode()})


def refused(request: SignedRequest, now: float = NOW, **changes: Any) -> str:
    with pytest.raises(SignatureError) as raised:
        SETUP.scheme(**changes).verify(request, now)
    return raised.value.reason


def test_what_is_not_covered_is_said() -> None:
    SETUP.scheme().verify(sent(message(UnsubscribeURL="https://x")), NOW)
    assert (SETUP.scheme().covers_body, SETUP.scheme().covers_event) == (False, True)


def test_the_first_version_is_signed_with_sha_1() -> None:
    fields = message(Subject=None)
    names = ("Message", "MessageId", "Timestamp", "TopicArn", "Type")
    assert SETUP.scheme().verify(signed_by_hand(fields, names), NOW).delivery_id == "msg_1"
    assert refused(signed_by_hand(fields, names, version="2")) == "mismatch"
    assert refused(signed_by_hand(fields, names, version="3")) == "malformed-header"


@pytest.mark.parametrize(("message_id", "reason"), [("", "malformed-body"), ("a.b", "malformed-id")])
def test_a_signed_id_must_be_one_that_can_be_kept(message_id: str, reason: str) -> None:
    fields = message(Subject=None, MessageId=message_id)
    assert refused(signed_by_hand(fields, ("Message", "MessageId", "Timestamp", "TopicArn", "Type"))) == reason


def test_a_confirmation_is_signed_with_its_token() -> None:
    fields = message(Type="SubscriptionConfirmation", Token="t", SubscribeURL="https://x", Subject=None)
    SETUP.scheme().verify(signed_by_hand(fields, sns.CONFIRMATION), NOW)
    other = json.loads(signed_by_hand(fields, sns.CONFIRMATION).body) | {"SubscribeURL": "https://evil"}
    assert refused(sent(other)) == "mismatch"


@pytest.mark.parametrize(
    "change",
    [
        {"Message": '{"status":"failed"}'},
        {"MessageId": "msg_2"},
        {"Subject": "others"},
        {"Subject": None},
        {"Type": "SubscriptionConfirmation"},
        {"Type": "Other"},
        {"TopicArn": TOPIC + "x"},
        {"TopicArn": 5},
        {"Timestamp": "2027-01-15T07:54:59.000Z"},
        {"Timestamp": "2027-01-15T08:00:00Z"},
        {"Timestamp": "2027-13-15T08:00:00.000Z"},
        {"Timestamp": None},
        {"Signature": "AAAA"},
        {"Signature": "!"},
        {"Signature": None},
        {"SignatureVersion": 2},
        {"SignatureVersion": None},
        {"MessageId": "a\nb"},
        {"Message": None},
    ],
)
def test_any_changed_field_is_refused(change: dict[str, Any]) -> None:
    assert refused(sent(message(**change)))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b"[" * 9999, b" " * 600_000 + SNS, b'{"Type":1,"Type":1}'], ids=range(7)
)
def test_a_body_that_is_no_message_is_refused(body: bytes) -> None:
    assert refused(sent(body)) == "malformed-body"


EMULATOR = "http://localhost.localstack.cloud:4566/_aws/sns/SimpleNotificationService-6c6f.pem"


def test_a_pinned_certificate_needs_no_url_of_amazon() -> None:
    """The URL is not signed and nothing is fetched. Without the pinned certificate it is refused."""
    SETUP.scheme().verify(sent(message(SigningCertURL=EMULATOR)), NOW)
    assert refused(sent(message(SigningCertURL=EMULATOR)), certificate="", private_key="") == "malformed-header"


def test_a_message_cannot_become_two_fields() -> None:
    """Both are signed alike; the second has a part of the message in the field that follows."""
    fields = message(Subject=None, Message="pay 1\nMessageId\nx", MessageId="msg_1")
    names = ("Message", "MessageId", "Timestamp", "TopicArn", "Type")
    good = signed_by_hand(fields, names)
    SETUP.scheme().verify(good, NOW)
    moved = json.loads(good.body) | {"Message": "pay 1", "MessageId": "x\nMessageId\nmsg_1"}
    assert refused(sent(moved)) == "malformed-body"


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0a.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com/../x/SimpleNotificationService-0a.pem",
        "https://sns.evil.example.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://s3.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com/evil.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem?x",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem\n",
        "",
    ],
)
def test_a_certificate_from_elsewhere_is_not_fetched(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "Fetched", None)
    assert refused(sent(message(SigningCertURL=url)), certificate="", private_key="") == "malformed-header"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    with key_server() as served:
        monkeypatch.setattr(sns, "CERTIFICATE_URLS", re.compile(re.escape(served.url) + "/[a-z0-9]+"))
        yield served


def test_the_certificate_is_fetched_in_the_background(server: KeyServer) -> None:
    server.documents["/good"] = SNS_CERTIFICATE.encode()
    scheme = SETUP.scheme(certificate="", private_key="")
    with pytest.raises(KeyUnavailable):
        scheme.verify(sent(message(SigningCertURL=f"{server.url}/good")), NOW)
    scheme.prepare(wait=30)
    for _ in range(2):
        scheme.verify(sent(message(SigningCertURL=f"{server.url}/good")), NOW)
    with pytest.raises(SignatureError, match="mismatch"):
        scheme.verify(sent(message(SigningCertURL=f"{server.url}/good", Message="another")), NOW)
    assert server.fetched == {"/good": 1}


@pytest.mark.parametrize("document", [b"", b"junk", certificate_of(RSA).encode()[:-40]])
def test_a_broken_certificate_is_no_certificate(server: KeyServer, document: bytes) -> None:
    server.documents["/bad"] = document
    scheme = SETUP.scheme(certificate="", private_key="")
    for _ in range(2):
        with pytest.raises(KeyUnavailable):
            scheme.verify(sent(message(SigningCertURL=f"{server.url}/bad")), NOW)
        scheme.prepare(wait=30)


@pytest.mark.parametrize(
    "certificate", [certificate_of(RSA, ends=2021), certificate_of(RSA, begins=2030), certificate_of(EC)]
)
def test_a_certificate_is_valid_now_and_has_an_rsa_key(certificate: str) -> None:
    assert refused(SETUP.signed(), certificate=certificate, private_key="") in {"stale", "malformed-header"}


def test_urls_without_a_certificate_are_few(server: KeyServer) -> None:
    clock = Clock()
    known = certificates.Certificates(re.compile(".*"), clock=clock)
    for minute in range(2):
        for number in range(20):
            with pytest.raises(KeyUnavailable):
                known.key_at(f"{server.url}/{minute}-{number}", NOW)
            known.wait(30)
        clock.now += FETCH_PAUSE
        assert sum(server.fetched.values()) == (minute + 1) * certificates.MOST_PENDING


def test_invented_urls_do_not_delay_the_certificate(server: KeyServer) -> None:
    """Four URLs without a certificate are named just before the real URL."""
    server.documents["/real"] = SNS_CERTIFICATE.encode()
    known = certificates.Certificates(re.compile(".*"), clock=Clock())
    for path in ("1", "2", "3", "4", "real"):
        with pytest.raises(KeyUnavailable):
            known.key_at(f"{server.url}/{path}", NOW)
    known.wait(30)
    assert known.key_at(f"{server.url}/real", NOW)


def test_after_many_invented_urls_the_next_waits_two_seconds(server: KeyServer) -> None:
    clock = Clock()
    known = certificates.Certificates(re.compile(".*"), clock=clock)
    server.documents["/real"] = SNS_CERTIFICATE.encode()
    for path in (*range(20), "real"):
        with pytest.raises(KeyUnavailable):
            known.key_at(f"{server.url}/{path}", NOW)
    known.wait(30)
    assert "/real" not in server.fetched
    clock.now += certificates.NEW_URL_PAUSE
    with pytest.raises(KeyUnavailable):
        known.key_at(f"{server.url}/real", NOW)
    known.wait(30)
    assert known.key_at(f"{server.url}/real", NOW)


def test_a_fetch_that_runs_is_not_given_up(server: KeyServer) -> None:
    """However many other URLs are named meanwhile."""
    clock = Clock()
    known = certificates.Certificates(re.compile(".*"), clock=clock)
    server.documents["/real"] = SNS_CERTIFICATE.encode()
    server.holding.clear()
    for path in ("real", *range(20)):
        with pytest.raises(KeyUnavailable):
            known.key_at(f"{server.url}/{path}", NOW)
        clock.now += certificates.NEW_URL_PAUSE
    server.holding.set()
    known.wait(30)
    assert known.key_at(f"{server.url}/real", NOW)
    assert len(known._fetched) <= certificates.MOST_PENDING


def test_certificates_that_are_kept_are_few(server: KeyServer) -> None:
    clock = Clock()
    known = certificates.Certificates(re.compile(".*"), clock=clock)
    most = certificates.MOST_FETCHED + certificates.MOST_PENDING
    for number in range(most + 2):
        clock.now += certificates.NEW_URL_PAUSE
        server.documents[f"/{number}"] = SNS_CERTIFICATE.encode()
        with pytest.raises(KeyUnavailable):
            known.key_at(f"{server.url}/{number}", NOW)
        known.wait(30)
    assert len(known._fetched) == most


def of_unknown_version() -> str:
    """A certificate whose version the library does not know, for which it raises an error of its own."""
    der = base64.b64decode("".join(SNS_CERTIFICATE.splitlines()[1:-1]))
    version = bytes.fromhex("a003020102")
    assert version in der
    changed = base64.encodebytes(der.replace(version, version[:-1] + b"\x07", 1)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{changed}-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"secrets": ["arn:aws:sqs:eu-west-1:123456789012:events"]},
        {"secrets": ["a-topic"]},
        {"certificate": "junk"},
        {"certificate": of_unknown_version()},
        {"certificate": 5},
        {"certificate": ""},
        {"private_key": "junk"},
        {"certificate": certificate_of(OTHER_RSA)},
    ],
)
def test_a_senseless_topic_or_certificate_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SETUP.scheme(**changes)


def test_only_the_holder_of_the_key_signs() -> None:
    with pytest.raises(ConfigError, match="only Amazon"):
        SETUP.scheme(private_key="").sign_request(sent(SNS), now=NOW, delivery_id="")
    for body in (b"{}", b"text"):
        with pytest.raises(ConfigError, match="not a message"):
            SETUP.scheme().sign_request(sent(body), now=NOW, delivery_id="")
    with pytest.raises(ConfigError, match="in the body"):
        SETUP.scheme().sign(SNS, url="", now=NOW, delivery_id="")
