"""Schemes that sign the URL, Twilio's above all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from activities.signatures import ConfigError
from tests.parts.setups import (
    NOW,
    SETUPS,
    SHA_URL,
    URL,
    reason,
)


@pytest.mark.parametrize("port", [443, 8443])
def test_twilio_signs_the_url_with_or_without_its_port(port: int) -> None:
    setup = SETUPS["twilio form"]
    with_port = URL.replace("example.com/", f"example.com:{port}/")
    setup.scheme().verify(replace(setup.signed(), url=with_port), NOW)
    if port == 443:
        setup.scheme().verify(replace(replace(setup, url=with_port).signed(), url=URL), NOW)


@pytest.mark.parametrize("url", [URL.replace("https", "http"), URL.replace(".com/", ".org/"), URL + "&b=2"])
def test_twilio_refuses_any_other_url(url: str) -> None:
    setup = SETUPS["twilio form"]
    assert reason(setup, replace(setup.signed(), url=url)) == "mismatch"


def test_twilio_refuses_a_port_that_was_not_signed() -> None:
    setup = replace(SETUPS["twilio form"], url=URL.replace(".com/", ".com:8443/"))
    assert reason(setup, replace(setup.signed(), url=URL)) == "mismatch"


def test_no_form_is_decoded_that_twilio_would_not_send() -> None:
    setup = SETUPS["twilio form"]
    for body in (b"a=" + b"%41" * 50_000, b"To=%2b1", b"To=%", b"To=%2", b"To=%zz"):
        assert reason(setup, replace(setup.signed(), body=body)) == "malformed-body"


@pytest.mark.parametrize("after", ["&", "&x=", "#"])
def test_twilios_form_cannot_be_moved_into_the_url(after: str) -> None:
    """The sender of the moved form chose the text, which brings along the digest of another body."""
    setup, body = SETUPS["twilio form"], b"status=done"
    text = f"hi&bodySHA256={hashlib.sha256(body).hexdigest()}{after}"
    request = setup.signed(urlencode({"Body": text, "From": "+1"}).encode())
    setup.scheme().verify(request, NOW)
    moved = replace(request, url=f"{URL}Body{text}From+1", body=body)
    assert reason(setup, moved) in {"malformed-url", "body-mismatch"}


def test_twilio_signs_no_url_that_it_would_refuse() -> None:
    for url in ("/relative", "https://[x/", f"{URL}&bodySHA256=", f"{SHA_URL}&b=2", f"{SHA_URL}&bodySHA256=00"):
        with pytest.raises(ConfigError):
            SETUPS["twilio json"].scheme().sign(b"{}", url=url, now=NOW, delivery_id="")


def test_twilio_signs_nothing_that_it_would_not_cover() -> None:
    for body in (b'{"a": 1}', b"To=%2b1", b"a=" + b"b" * 200_000):
        with pytest.raises(ConfigError):
            SETUPS["twilio form"].scheme().sign(body, url=URL, now=NOW, delivery_id="")


@pytest.mark.parametrize("name", ["square", "twilio form", "hmac timed"])
def test_a_scheme_that_signs_the_url_needs_one(name: str) -> None:
    setup = SETUPS[name]
    assert reason(setup, replace(setup.signed(), url="")) == "malformed-url"
    with pytest.raises(ConfigError):
        setup.scheme().sign(b"", url="", now=NOW, delivery_id="")


def test_twilio_refuses_a_body_that_nothing_covers() -> None:
    setup = SETUPS["twilio form"]
    request = setup.signed(b"")
    json_body = replace(request, headers=[*request.headers, ("Content-Type", "application/json")], body=b"{}")
    assert reason(setup, json_body) == "malformed-body"
    json_setup = SETUPS["twilio json"]
    assert reason(json_setup, replace(json_setup.signed(), body=b"{ }")) == "body-mismatch"
