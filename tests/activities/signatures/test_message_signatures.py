"""HTTP Message Signatures: the RFC's own examples, and what is refused although its signature is good."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.signatures import SCHEMES, ConfigError, KeyUnavailable, Scheme, SignatureError, SignedRequest
from activities.signatures.message_signatures import signature_base
from activities.signatures.structured_fields import read_input, write_byte_sequence, write_string
from tests.parts.examples import examples
from tests.parts.key_servers import key_server
from tests.parts.setups import EC_PEM, ED, NOW, SETUPS

URL = "https://example.com/foo?param=Value&Pet=dog"
BODY = b'{"hello": "world"}'
OURS = {"algorithm": "ed25519", "covered": "@method @path"}


def made(secret: str = "", **options: Any) -> Scheme:
    key = secret or base64.b64encode(ED.public_key().public_bytes_raw()).decode()
    return SCHEMES["http-message-signatures"]([key], **{**OURS, **options})


def by_hand(
    components: str = '"@method" "@path" "content-digest"',
    parameters: str = f";created={NOW}",
    *headers: tuple[str, str],
    body: bytes = BODY,
) -> SignedRequest:
    """A request with any input, signed rightly."""
    digest = ("Content-Digest", f"sha-256={write_byte_sequence(hashlib.sha256(body).digest())}")
    names = [name.lower() for name, _ in headers]
    request = SignedRequest("POST", URL, [*([] if "content-digest" in names else [digest]), *headers], body)
    text = f"({components}){parameters}"
    signature = write_byte_sequence(ED.sign(signature_base(request, read_input(text))))
    return replace(
        request, headers=[*request.headers, ("Signature-Input", f"s={text}"), ("Signature", f"s={signature}")]
    )


def with_header(request: SignedRequest, name: str, value: str) -> SignedRequest:
    return replace(request, headers=[(key, value if key == name else old) for key, old in request.headers])


def refused(request: SignedRequest, scheme: Scheme | None = None, now: float = NOW) -> str:
    with pytest.raises(SignatureError) as raised:
        (scheme or made()).verify(request, now)
    return raised.value.reason


@pytest.mark.parametrize(
    ("text", "signature", "secret", "options"),
    [
        (
            '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
            "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
            "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==",
            {"algorithm": "hmac-sha256", "key": "base64"},
        ),
        (
            '("date" "@method" "@path" "@authority" "content-type" "content-length")'
            ';created=1618884473;keyid="test-key-ed25519"',
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
            "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=",
            {"algorithm": "ed25519"},
        ),
    ],
    ids=["B.2.5", "B.2.6"],
)
def test_the_examples_of_rfc_9421_verify(text: str, signature: str, secret: str, options: dict[str, Any]) -> None:
    """Without their body, which they do not cover."""
    headers = [
        ("Host", "example.com"),
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Length", "18"),
        ("Signature-Input", f"sig={text}"),
        ("Signature", f"sig=:{signature}:"),
    ]
    scheme = made(secret, covered="", **options)
    scheme.verify(SignedRequest("POST", URL, headers, b""), 1618884473)
    assert refused(SignedRequest("POST", URL, headers, BODY), scheme, 1618884473) == "malformed-header"


def test_a_request_verifies_with_more_covered_than_needed() -> None:
    components = (
        '"@method" "@path" "@query" "@authority" "@scheme" "@request-target" "@target-uri" "content-digest" "x"'
    )
    parameters = f';created={NOW};expires={NOW + 9};keyid="any";alg="ed25519";nonce="n";tag="t";ours=?1'
    request = by_hand(components, parameters, ("X", "  value\t"))
    assert made(tag="t").verify(request, NOW).timestamp == NOW
    for changed in ({"method": "PUT"}, {"url": URL + "&a=1"}, {"url": URL.replace("/foo", "/bar")}):
        assert refused(replace(request, **changed)) == "mismatch"  # type: ignore[arg-type]
    assert refused(with_header(request, "X", "another")) == "mismatch"
    assert refused(replace(request, body=BODY + b" ")) == "body-mismatch"


@pytest.mark.parametrize(
    ("components", "parameters"),
    [
        ('"@method" "content-digest"', f";created={NOW}"),
        ('"@method" "@path"', f";created={NOW}"),
        ("", f";created={NOW}"),
        ('"@method" "@path" "content-digest" "@path"', f";created={NOW}"),
        ('"@method" "@path";req "content-digest"', f";created={NOW}"),
        ('"@method" "@path" "content-digest";sf', f";created={NOW}"),
        ('"@method" "@path" "content-digest"', ""),
        ('"@method" "@path" "content-digest"', f';created="{NOW}"'),
        ('"@method" "@path" "content-digest"', ";created=-1"),
        ('"@method" "@path" "content-digest"', f";created={NOW - 301}"),
        ('"@method" "@path" "content-digest"', f";created={NOW + 301}"),
        ('"@method" "@path" "content-digest"', f";created={NOW};expires={NOW - 1}"),
        ('"@method" "@path" "content-digest"', f";created={NOW};expires=never"),
        ('"@method" "@path" "content-digest"', f';created={NOW};alg="hmac-sha256"'),
        ('"@method" "@path" "content-digest"', f";created={NOW};alg"),
    ],
)
def test_a_good_signature_of_too_little_is_refused(components: str, parameters: str) -> None:
    assert refused(by_hand(components, parameters)) in {"malformed-header", "malformed-timestamp", "stale"}


def test_a_tag_or_label_of_another_purpose_is_refused() -> None:
    request = by_hand()
    assert refused(request, made(tag="acme")) == "wrong-claim"
    assert refused(request, made(label="acme")) == "missing-header"


@pytest.mark.parametrize(
    "digest",
    ["md5=:AAAA:", "sha-256=:AAAA:", "sha-256=AAAA", "", "sha-256", "sha-256=:AAAA:, sha-256=:AAAA:", "sha-256=(1)"],
)
def test_a_weak_or_wrong_digest_is_refused(digest: str) -> None:
    request = by_hand('"@method" "@path" "content-digest"', f";created={NOW}", ("Content-Digest", digest))
    assert refused(request) in {"malformed-header", "body-mismatch"}


def test_every_known_digest_must_be_right() -> None:
    good = f"sha-256={write_byte_sequence(hashlib.sha256(BODY).digest())}"
    wrong = f"{good}, sha-512={write_byte_sequence(hashlib.sha512(b'another').digest())}"
    also = f"{good}, unixsum=:AAAA:"
    sent = {
        digest: by_hand('"@method" "@path" "content-digest"', f";created={NOW}", ("Content-Digest", digest))
        for digest in (wrong, also)
    }
    assert refused(sent[wrong]) == "body-mismatch"
    made().verify(sent[also], NOW)


@pytest.mark.parametrize(
    ("header", "change"),
    [
        ("Signature-Input", lambda value: value.replace(" ", "  ", 1)),
        ("Signature-Input", lambda value: value + ","),
        ("Signature-Input", lambda value: f"{value}, {value}"),
        ("Signature-Input", lambda value: value.replace(";created", "; created")),
        ("Signature-Input", lambda value: value + f";created={NOW}"),
        ("Signature-Input", lambda value: value.replace('"@path"', "@path")),
        ("Signature-Input", lambda value: "s=:AAAA:"),
        ("Signature-Input", lambda value: ", ".join(f"s{number}={value[2:]}" for number in range(40))),
        ("Signature-Input", lambda value: value + ";x=" + "a" * 9000),
        ("Signature", lambda value: value.replace("s=:", "s=")),
        ("Signature", lambda value: value[:-1] + "=:"),
        ("Signature", lambda value: value + ";x=1"),
        ("Signature", lambda value: f"{value}, {value}"),
        ("Signature", lambda value: "other" + value),
        ("Signature", lambda value: ""),
    ],
)
def test_a_misshapen_header_is_refused(header: str, change: Callable[[str], str]) -> None:
    request = by_hand()
    [value] = request.all(header)
    assert refused(with_header(request, header, change(value))) in {"malformed-header", "missing-header"}


def test_one_good_signature_among_several_is_enough() -> None:
    request = by_hand()
    [text], [signature] = request.all("Signature-Input"), request.all("Signature")
    other = '("@method");created=1'
    request = with_header(request, "Signature-Input", f"a={other}, {text}")
    made().verify(with_header(request, "Signature", f"a=:AAAA:,{signature}"), NOW)


def test_another_signature_does_not_refuse_what_awaits_its_key() -> None:
    """A request is refused for good only if our key has been tried."""
    with key_server() as server:
        scheme = made(f"{server.url}/jwks.json", tag="ours")
        request = by_hand(parameters=f';created={NOW};tag="ours"')
        [text], [signature] = request.all("Signature-Input"), request.all("Signature")
        inputs = f'{text}, proxy=("@method" "@path" "content-digest");created={NOW};tag="theirs"'
        request = with_header(request, "Signature-Input", inputs)
        with pytest.raises(KeyUnavailable):
            scheme.verify(with_header(request, "Signature", f"{signature}, proxy=:AAAA:"), NOW)
        scheme.prepare(wait=30)


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb"])
def test_a_covered_header_cannot_hold_a_line_of_the_base(value: str) -> None:
    with pytest.raises(SignatureError):
        by_hand('"@method" "@path" "content-digest" "x"', f";created={NOW}", ("X", value))


def test_a_port_of_the_scheme_is_not_part_of_the_authority() -> None:
    scheme = made(covered="@authority @query")
    bare = SignedRequest("POST", "https://Example.com/foo", [], b"")
    text = f'("@authority" "@query");created={NOW}'
    base = f'"@authority": example.com\n"@query": ?\n"@signature-params": {text}'
    sent = [("Signature-Input", f"s={text}"), ("Signature", f"s={write_byte_sequence(ED.sign(base.encode()))}")]
    for url in ("https://Example.com/foo", "https://example.com:443/foo"):
        scheme.verify(replace(bare, url=url, headers=sent), NOW)
    for url in ("https://example.com:8443/foo", "https://example.com/foo?a", "", "/foo"):
        assert refused(replace(bare, url=url, headers=sent), scheme) in {"mismatch", "malformed-url"}


@pytest.mark.parametrize(
    "options",
    [
        {"algorithm": "none"},
        {"algorithm": "HS256"},
        {"algorithm": "hmac-sha256", "key": "hex"},
        {"algorithm": "hmac-sha256", "key": "base64", "secret": "not base64"},
        {"algorithm": "hmac-sha256", "secret": EC_PEM},
        {"algorithm": "rsa-pss-sha512", "secret": EC_PEM},
        {"covered": "@status"},
        {"covered": "Content-Type"},
        {"covered": "signature"},
        {"covered": 'x";sf'},
        {"covered": "é"},
        {"covered": 5},
        {"private_key": "junk"},
    ],
)
def test_a_senseless_option_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        made(**options)


def test_what_is_signed_for_a_call_keeps_its_headers() -> None:
    scheme = SETUPS["http-message-signatures"].scheme(covered="@method content-type")
    plain = SignedRequest("POST", URL, [("Content-Type", "text/plain")], BODY)
    scheme.verify(scheme.sign_request(plain, now=NOW, delivery_id=""), NOW)
    with pytest.raises(ConfigError, match="lacks what is covered"):
        scheme.sign(BODY, url=URL, now=NOW, delivery_id="")


@given(text=st.text(alphabet='abz"\\;=():,?-*.019 \t', max_size=40))
@examples(100)
def test_any_structured_field_is_read_or_refused(text: str) -> None:
    for header in ("Signature-Input", "Signature", "Content-Digest"):
        refused(with_header(by_hand(), header, text))


@given(name=st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=10))
@examples(50)
def test_a_quoted_string_reads_as_itself(name: str) -> None:
    assert read_input(f"({write_string(name)});tag={write_string(name)}").parameters == {"tag": name}
    assert read_input(f"({write_string(name)})").components == ((name, ""),)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"covered": "@method, content-digest"}, "unknown component @method,"),
        ({"covered": "content-digest,date"}, "divided by blanks"),
        ({"covered": "Content-Digest"}, "lower case"),
        ({"label": "Sig1"}, "label begins with a lower-case letter"),
    ],
)
def test_what_can_never_be_covered_is_an_error(options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made(**options)
