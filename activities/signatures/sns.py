"""Amazon SNS: a signature in the body, by a certificate of Amazon's whose URL the body names.

Source: docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from cryptography.hazmat.primitives import hashes

from activities import strict_json
from activities.signatures.asymmetric_keys import KeyPairScheme
from activities.signatures.scheme import (
    ConfigError,
    SignatureError,
    SignedRequest,
    Verified,
    check_id,
    decode_base64,
    first_match,
)
from activities.signatures.signing_certificates import CertificateSignatures

CERTIFICATE_URLS: Final = re.compile(
    r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?/SimpleNotificationService-[0-9a-f]{1,64}\.pem"
)
TOPIC: Final = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")

LONGEST_RETRY: Final = 3600
"""Seconds. Amazon repeats a message as it was first signed, by default for some twenty minutes."""

LARGEST_SNS_MESSAGE: Final = 512 * 1024
"""Bytes. A message has at most 256 KiB, some of which JSON escapes."""

CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": CONFIRMATION,
    "UnsubscribeConfirmation": CONFIRMATION,
}
"""The fields that are signed, by the message's type. Only the subject may be missing."""

DIGEST_OF_VERSION: Final[Mapping[str, hashes.HashAlgorithm]] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303
"""By SignatureVersion. Amazon still signs with SHA-1 unless the topic's SignatureVersion is set to 2."""


class Sns(KeyPairScheme):
    """Amazon SNS. A secret is the ARN of a topic: Amazon signs for all customers, so only the topic proves the sender.

    The certificate is fetched from Amazon, in the background. certificate: a certificate in PEM that is used instead,
    for tests and the sandbox; then nothing is fetched, and `SigningCertURL` may name any URL, as emulators of SNS name
    their own. private_key: its other half, only for signing. All fields of the body are covered except
    `UnsubscribeURL`, `SigningCertURL` and the message's attributes.
    """

    name = "sns"
    covers_body = False
    covers_event = True
    covers_time = True
    signing_advice = "give --certificate and --private-key-file FILE: only Amazon can sign with its own"
    options: ClassVar[tuple[str, ...]] = ("certificate",)

    def __init__(
        self, secrets: Sequence[str], *, certificate: str = "", private_key: str = "", tolerance: int = LONGEST_RETRY
    ) -> None:
        self._signatures = CertificateSignatures(
            "Amazon", CERTIFICATE_URLS, certificate=certificate, private_key=private_key
        )
        super().__init__(secrets, tolerance=tolerance)

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        if not all(TOPIC.fullmatch(secret) for secret in secrets):
            raise ConfigError("a secret is not the ARN of a topic, such as arn:aws:sns:eu-west-1:123456789012:events")
        self._topics = list(secrets)

    @property
    def place(self) -> str:
        """Where the signature is, in words."""
        return "Signature in the body"

    def prepare(self, *, wait: float = 0.0) -> None:
        """Wait for the certificates that requests have named; until then, none is known."""
        self._signatures.wait(wait)

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the topic, the time and the signature."""
        message = _read(request.body)
        text = _signed_text(message)
        index = first_match(self._topics, [message["TopicArn"]])
        if index is None:
            raise SignatureError("wrong-claim", "the message is of another topic")
        moment = self._in_time(_seconds(message["Timestamp"]), now)
        digest = DIGEST_OF_VERSION.get(_text(message, "SignatureVersion"))
        if digest is None:
            raise SignatureError("malformed-header", "SignatureVersion is neither 1 nor 2")
        try:
            signature = decode_base64(_text(message, "Signature"))
        except ValueError as error:
            raise SignatureError("malformed-header", "Signature is not base64") from error
        self._signatures.verify(_text(message, "SigningCertURL"), signature, text, digest, now)
        return Verified(index, moment, check_id(_text(message, "MessageId")))

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Raise `ConfigError`: the signature is in the body, where `sign_request` puts it."""
        raise ConfigError("the signature is in the body, not in a header: sign the whole request")

    def sign_request(self, request: SignedRequest, *, now: float, delivery_id: str) -> SignedRequest:
        """Return the request with the time and a signature in its message; raises `ConfigError`."""
        try:
            message = _read(request.body)
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(now))
            message |= {"Timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "SignatureVersion": "2"}
            signature = self._signatures.sign(_signed_text(message))
        except SignatureError as error:
            raise ConfigError(f"the body is not a message of Amazon SNS: {error}") from error
        message["Signature"] = base64.b64encode(signature).decode()
        return replace(request, body=json.dumps(message).encode())

    def carried(self, request: SignedRequest) -> list[tuple[str, str]]:
        """Return the signature of the message."""
        try:
            return [("Signature", _text(_read(request.body), "Signature"))]
        except SignatureError:
            return []


def _read(body: bytes) -> dict[str, Any]:
    if len(body) > LARGEST_SNS_MESSAGE:
        raise SignatureError("malformed-body", f"more than {LARGEST_SNS_MESSAGE} bytes")
    try:
        message = strict_json.loads(body)
    except strict_json.NotStrictJSON as error:
        raise SignatureError("malformed-body", str(error)) from error
    if not isinstance(message, dict):
        raise SignatureError("malformed-body", "not a JSON object")
    return message


def _signed_text(message: Mapping[str, Any]) -> bytes:
    """Return the fields as they are signed, each after its name.

    Only the message may have line breaks: else a part of it could be taken for the next field.
    """
    kind = _text(message, "Type")
    if kind not in SIGNED:
        raise SignatureError("malformed-body", "Type is not one of Amazon SNS")
    text = ""
    for name in SIGNED[kind]:
        if name == "Subject" and message.get(name) is None:
            continue
        value = _text(message, name)
        if name != "Message" and ("\n" in value or not value):
            raise SignatureError("malformed-body", f"{name} is empty, or has a line break")
        text += f"{name}\n{value}\n"
    return text.encode()


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise SignatureError("malformed-body", f"{name} is missing, or not a text")
    return value


def _seconds(text: str) -> str:
    """Return the unix seconds of a timestamp; raises `SignatureError`."""
    try:
        if TIME.fullmatch(text):
            return str(int(datetime.fromisoformat(text).timestamp()))
    except ValueError:
        pass
    raise SignatureError("malformed-timestamp", "Timestamp is not a time such as 2012-05-02T00:54:06.655Z")
