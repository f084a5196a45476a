"""What is particular in the headers of single schemes: ids, versions, and several signatures."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace

import pytest

from activities.signatures import SCHEMES, ConfigError, SignedRequest
from tests.parts.setups import (
    ED,
    NOW,
    SETUPS,
    URL,
    Setup,
    b64,
    reason,
)

STAMPED = {"header": "X-Sig", "timestamp_header": "X-Time"}


@pytest.mark.parametrize("template", ["{body}{timestamp}", "{body}{url}{timestamp}", "{body}0{timestamp}"])
def test_zeros_at_a_bodys_end_are_not_taken_for_the_timestamps(template: str) -> None:
    setup = Setup("hmac", options={**STAMPED, "signed": template}, url="0", body=b"amount=1000")
    request = setup.signed()
    setup.scheme().verify(request, NOW)
    [(name, stamp), signature] = request.headers
    moved = replace(request, headers=[(name, f"00{stamp}"), signature], body=request.body[:-2])
    assert reason(setup, moved) == "malformed-timestamp"


@pytest.mark.parametrize("template", ["{body}.{timestamp}", "{timestamp}{body}"])
def test_a_timestamp_may_begin_with_zeros(template: str) -> None:
    setup = Setup("hmac", options={**STAMPED, "signed": template})
    signed = template.replace("{timestamp}", f"00{NOW}").encode().replace(b"{body}", setup.body)
    mac = hmac.digest(setup.secrets[0].encode(), signed, "sha256").hex()
    setup.scheme().verify(SignedRequest("POST", URL, [("X-Time", f"00{NOW}"), ("X-Sig", mac)], setup.body), NOW)


def changed_header(setup: Setup, change: Callable[[str], str]) -> SignedRequest:
    request = setup.signed()
    name, value = request.headers[-1]
    return replace(request, headers=[*request.headers[:-1], (name, change(value))])


@pytest.mark.parametrize("name", ["standard-webhooks", "svix"])
def test_malformed_signatures_are_skipped_up_to_the_cap(name: str) -> None:
    setup = SETUPS[name]
    setup.scheme().verify(changed_header(setup, lambda good: f"v1 v2,x , v1,!! v1,AAAA {good}"), NOW)
    assert reason(setup, changed_header(setup, lambda good: "v1,AAAA " * 100 + good)) == "mismatch"


@pytest.mark.parametrize("name", ["standard-webhooks", "svix"])
@pytest.mark.parametrize("delivery_id", ["", "a b", "a\n", "é", "x" * 257, "a.1"])
def test_an_id_is_capped_and_printable(name: str, delivery_id: str) -> None:
    setup = SETUPS[name]
    request = setup.signed()
    headers = [(key, delivery_id if key.endswith("-id") else value) for key, value in request.headers]
    assert reason(setup, replace(request, headers=headers)) == "malformed-id"
    with pytest.raises(ConfigError, match="malformed-id"):
        setup.scheme().sign(b"", url=URL, now=NOW, delivery_id=delivery_id)


def test_what_was_signed_cannot_be_cut_in_another_place() -> None:
    """`id.timestamp.body` of an old request, read as one with a later timestamp."""
    setup = SETUPS["standard-webhooks"]
    old, later = NOW - 5000, str(NOW)
    request = setup.signed(later.encode() + b".5", now=old)
    shifted = [
        (name, {"webhook-id": f"msg_1.{old}", "webhook-timestamp": later}.get(name, value))
        for name, value in request.headers
    ]
    assert reason(setup, replace(request, headers=shifted, body=b"5")) == "malformed-id"


def test_a_key_verifies_signatures_of_its_own_version_only() -> None:
    setup = SETUPS["standard-webhooks"]
    assert reason(setup, changed_header(setup, lambda good: good.replace("v1,", "v1a,"))) == "mismatch"
    ed = SETUPS["standard-webhooks v1a"]
    assert reason(ed, changed_header(ed, lambda good: good.replace("v1a,", "v1,"))) == "mismatch"


def test_a_public_key_verifies_and_cannot_sign() -> None:
    public = "whpk_" + b64(ED.public_key().public_bytes_raw())
    scheme = SCHEMES["standard-webhooks"](secrets=[public])
    scheme.verify(SETUPS["standard-webhooks v1a"].signed(), NOW)
    for name, secret in (("standard-webhooks", public), ("discord", SETUPS["discord"].secrets[0])):
        with pytest.raises(ConfigError):
            SCHEMES[name](secrets=[secret]).sign(b"", url=URL, now=NOW, delivery_id="m")


@pytest.mark.parametrize(("name", "key"), [("stripe", "v1"), ("paddle", "h1"), ("persona", "v1")])
def test_several_signatures_in_one_header_are_for_rotation(name: str, key: str) -> None:
    setup, separator = SETUPS[name], ";" if name == "paddle" else ","
    setup.scheme().verify(changed_header(setup, lambda good: f"{good}{separator}{key}=dummy"), NOW)
    setup.scheme().verify(changed_header(setup, lambda good: good.replace(key, f"{key}=dummy{separator}{key}")), NOW)


def test_persona_sends_a_pair_for_each_secret() -> None:
    setup = SETUPS["persona"]
    setup.scheme().verify(changed_header(setup, lambda good: f"v1=no-time t=1,v1=dummy {good}"), NOW)


@pytest.mark.parametrize("number", [2, 33, 100])
def test_docusign_sends_a_header_for_each_key(number: int) -> None:
    setup = SETUPS["docusign"]
    [(_, good)] = setup.signed().headers
    numbered = [("X-DocuSign-Signature-1", "dummy"), (f"x-docusign-signature-{number}", good)]
    setup.scheme().verify(replace(setup.signed(), headers=numbered), NOW)
    assert reason(setup, replace(setup.signed(), headers=[*numbered, numbered[1]])) == "repeated-header"
    assert reason(setup, replace(setup.signed(), headers=[("X-DocuSign-Signature-101", good)])) == "missing-header"


def test_docusigns_header_may_name_its_one_method() -> None:
    request = SETUPS["docusign"].signed()
    named = ("x-authorization-digest", "HMACSHA256")

    def with_headers(*headers: tuple[str, str]) -> SignedRequest:
        return replace(request, headers=[*request.headers, *headers])

    SETUPS["docusign"].scheme().verify(with_headers(named), NOW)
    assert reason(SETUPS["docusign"], with_headers(named, named)) == "repeated-header"
    assert reason(SETUPS["docusign"], with_headers((named[0], "HMACSHA1"))) == "malformed-header"


def test_no_letter_beyond_ascii_is_taken_for_one_within() -> None:
    """Where case is folded as Unicode does, the sign of the kelvin is a K."""
    setup = SETUPS["standard-webhooks"]
    headers = [(name.replace("k", "\u212a"), value) for name, value in setup.signed().headers]
    assert reason(setup, replace(setup.signed(), headers=headers)) == "missing-header"


def test_a_persona_header_without_any_timestamp_is_malformed() -> None:
    setup = SETUPS["persona"]
    assert reason(setup, changed_header(setup, lambda good: "v1=abc v1=def")) == "malformed-header"
