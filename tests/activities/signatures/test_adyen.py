"""Adyen's classic notifications: eight fields of each item are proven, and the items can be neither cut nor mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from activities.environment import Environment
from activities.partners import sandbox
from activities.signatures import SCHEMES, ConfigError, SignatureError, SignedRequest
from activities.signatures.diagnosis import diagnose
from tests.parts.setups import ADYEN, NOW, SETUPS

SETUP = SETUPS["adyen-classic"]


def notification(item: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A signed notification of two items, of which the first is then changed."""
    document = json.loads(SETUP.signed().body)
    first = document["notificationItems"][0]["NotificationRequestItem"]
    first.update(item or {})
    return {**document, **changes}


def refused(document: Any) -> str:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(SignatureError) as raised:
        SETUP.scheme().verify(SignedRequest("POST", "", [], body), NOW)
    return raised.value.reason


def test_the_example_of_adyens_library_verifies() -> None:
    """adyen-python-api-library, test/UtilTest.py."""
    item = {
        "pspReference": "7914073381342284",
        "merchantAccountCode": "TestMerchant",
        "merchantReference": "TestPayment-1407325143704",
        "amount": {"value": 1130, "currency": "EUR"},
        "eventCode": "AUTHORISATION",
        "success": "true",
        "additionalData": {"hmacSignature": "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},
    }
    body = json.dumps({"notificationItems": [{"NotificationRequestItem": item}]}).encode()
    scheme = SCHEMES["adyen-classic"](["44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"])
    assert scheme.verify(SignedRequest("POST", "", [], body), NOW).key_index == 0


@pytest.mark.parametrize(
    "change",
    [
        {"pspReference": "T7F9"},
        {"originalReference": "T7F"},
        {"merchantAccountCode": "Other"},
        {"merchantReference": "order:9"},
        {"amount": {"currency": "EUR", "value": 1001}},
        {"amount": {"currency": "USD", "value": 1000}},
        {"eventCode": "CANCELLATION"},
        {"success": "false"},
        {"additionalData": {"hmacSignature": "x="}},
    ],
)
def test_any_changed_covered_field_is_refused(change: dict[str, Any]) -> None:
    assert refused(notification(change)) == "mismatch"


def test_an_uncovered_field_may_change_as_the_scheme_says() -> None:
    body = json.dumps(notification({"reason": "another", "eventDate": ""})).encode()
    SETUP.scheme().verify(SignedRequest("POST", "", [], body), NOW)
    assert (SETUP.scheme().covers_body, SETUP.scheme().covers_event) == (False, True)
    bank = sandbox.partner("bank", Environment({}))
    assert replace(bank, signature=SETUP.scheme()).proves_its_bodies


@pytest.mark.parametrize(
    "change",
    [
        {"amount": None},
        {"amount": 5},
        {"success": ["true"]},
        {"merchantReference": {}},
        {"merchantReference": 1.5},
        {"pspReference": "T7F0:", "originalReference": ""},
        {"merchantAccountCode": "Acme:order", "merchantReference": "0"},
        {"additionalData": {}},
        {"additionalData": None},
        {"additionalData": {"hmacSignature": 5}},
        {"additionalData": []},
    ],
)
def test_an_odd_item_is_refused(change: dict[str, Any]) -> None:
    assert refused(notification(change)) in {"malformed-body", "missing-header"}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"\xff",
        {},
        {"notificationItems": []},
        {"notificationItems": {}},
        {"notificationItems": [5]},
        {"notificationItems": [{}]},
        b'{"notificationItems": [], "notificationItems": []}',
        b"[" * 10_000,
        b" " * 200_000 + ADYEN,
    ],
    ids=range(11),
)
def test_a_body_without_items_is_refused(document: Any) -> None:
    assert refused(document) == "malformed-body"


def test_every_item_needs_a_signature() -> None:
    document = notification()
    unsigned = {**document["notificationItems"][1]["NotificationRequestItem"], "additionalData": {}}
    document["notificationItems"].append({"NotificationRequestItem": unsigned})
    assert refused(document) == "missing-header"


def test_the_signature_is_not_in_a_header() -> None:
    with pytest.raises(ConfigError, match="in the body"):
        SETUP.scheme().sign(ADYEN, url="", now=NOW, delivery_id="")
    for body in (b"{}", b"text", b'{"notificationItems": [{"NotificationRequestItem": {"additionalData": 5}}]}'):
        with pytest.raises(ConfigError):
            SETUP.scheme().sign_request(SignedRequest("POST", "", [], body), now=NOW, delivery_id="")


@pytest.mark.parametrize("secret", ["AB" * 31, "AB" * 33, "XY" * 32, "00" * 32, "AB " * 32, "ab" * 31 + "é1"])
def test_a_key_is_64_hexadecimal_digits(secret: str) -> None:
    with pytest.raises(ConfigError):
        SETUP.scheme(secrets=[secret])


def test_a_diagnosis_leaves_open_what_may_be_wrong() -> None:
    body = json.dumps(notification({"success": "false"})).encode()
    found = diagnose(SETUP.scheme(), SETUP.secrets, SignedRequest("POST", "", [], body), NOW)
    assert found.failed == "key or bytes"
