"""Adyen's classic notifications: a signature in the body, for each item, over eight fields of the item.

Source: docs.adyen.com/development-resources/webhooks/verify-hmac-signatures, and Adyen's library for Python.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from activities import strict_json
from activities.signatures.scheme import (
    ConfigError,
    Scheme,
    SignatureError,
    SignedRequest,
    Verified,
    first_match,
    hmac_key,
)

ADYEN_KEY_BYTES: Final = 32
LARGEST_NOTIFICATION: Final = 128 * 1024
"""Bytes. The body is decoded before it is proven, so larger ones are refused; Adyen sends up to six items."""

Item = dict[str, Any]


class AdyenClassic(Scheme):
    """Adyen's classic notifications: HMAC-SHA256 in base64, in `additionalData.hmacSignature` of each item.

    A secret is 64 hexadecimal digits. Of an item only these are covered: `pspReference`, `originalReference`,
    `merchantAccountCode`, `merchantReference`, `amount`, `eventCode` and `success`. The rest, such as `reason` and
    `eventDate`, can be changed by anyone who has seen the item: read the event from the covered fields alone. No
    timestamp is covered: a captured item stays valid, so only what it does may not be done twice.
    """

    name = "adyen-classic"
    covers_body = False
    covers_event = True
    signing_advice = "give a notification of Adyen as the body, and --request"
    sample_secret = ""

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = [_key(secret) for secret in secrets]

    @property
    def place(self) -> str:
        """Where the signature is, in words."""
        return "hmacSignature in the body"

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the signature of every item; returns the key of the first."""
        indexes = [self._verify_item(item) for item in _items(_read(request.body))]
        return Verified(indexes[0])

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Raise `ConfigError`: the signature is in the body, where `sign_request` puts it."""
        raise ConfigError("the signature is in the body, not in a header: sign the whole request")

    def sign_request(self, request: SignedRequest, *, now: float, delivery_id: str) -> SignedRequest:
        """Return the request with a signature in each item, made with the first key; raises `ConfigError`."""
        try:
            document = _read(request.body)
            for item in _items(document):
                item["additionalData"] = {
                    **(item.get("additionalData") or {}),
                    "hmacSignature": _mac(self._keys[0], item),
                }
        except (SignatureError, TypeError) as error:
            raise ConfigError(f"the body is not a notification of Adyen: {error}") from error
        return replace(request, body=json.dumps(document).encode())

    def carried(self, request: SignedRequest) -> list[tuple[str, str]]:
        """Return the signatures of the items."""
        try:
            return [("hmacSignature", _signature(item)) for item in _items(_read(request.body))]
        except SignatureError:
            return []

    def _verify_item(self, item: Item) -> int:
        index = first_match([_mac(key, item) for key in self._keys], [_signature(item)])
        if index is None:
            raise SignatureError("mismatch", "an item is signed by none of our keys")
        return index


def _key(secret: str) -> bytes:
    try:
        key = bytes.fromhex(secret) if secret.isalnum() else b""
    except ValueError:
        key = b""
    if len(key) != ADYEN_KEY_BYTES:
        raise ConfigError(f"a secret is not {2 * ADYEN_KEY_BYTES} hexadecimal digits")
    return hmac_key(key)


def _read(body: bytes) -> Any:
    if len(body) > LARGEST_NOTIFICATION:
        raise SignatureError("malformed-body", f"more than {LARGEST_NOTIFICATION} bytes")
    try:
        return strict_json.loads(body)
    except strict_json.NotStrictJSON as error:
        raise SignatureError("malformed-body", str(error)) from error


def _items(document: Any) -> list[Item]:
    """Return the items of a notification; raises `SignatureError`, also for an empty list."""
    entries = document.get("notificationItems") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SignatureError("malformed-body", "notificationItems is not a list of items")
    return [_item(entry) for entry in entries]


def _item(entry: Any) -> Item:
    item = entry.get("NotificationRequestItem") if isinstance(entry, dict) else None
    if not isinstance(item, dict):
        raise SignatureError("malformed-body", "notificationItems has an entry without NotificationRequestItem")
    return item


def _signature(item: Item) -> str:
    data = item.get("additionalData")
    signature = data.get("hmacSignature") if isinstance(data, dict) else None
    if not isinstance(signature, str):
        raise SignatureError("missing-header", "an item has no additionalData.hmacSignature")
    return signature


def _mac(key: bytes, item: Item) -> str:
    return base64.b64encode(hmac.digest(key, _signed(item), "sha256")).decode()


def _signed(item: Item) -> bytes:
    """Return the fields as they are signed.

    Colons divide them. The merchant's reference may hold one, so no other field may: else `a:b` and `c` would be signed
    like `a` and `b:c`.
    """
    amount = item.get("amount")
    if not isinstance(amount, dict):
        raise SignatureError("malformed-body", "an item has no amount")
    before = [_text(item, name) for name in ("pspReference", "originalReference", "merchantAccountCode")]
    after = [_text(amount, "value"), _text(amount, "currency"), _text(item, "eventCode"), _text(item, "success")]
    if any(":" in text for text in (*before, *after)):
        raise SignatureError("malformed-body", "a field has a colon, which divides the fields that are signed")
    return ":".join([*before, _text(item, "merchantReference"), *after]).encode()


def _text(fields: Item, name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise SignatureError("malformed-body", f"{name} is not a text or a whole number")
