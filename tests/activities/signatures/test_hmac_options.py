"""Options of the scheme hmac: a secret in a header, combinations that make no sense, and changed requests."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.signatures import SCHEMES, ConfigError, SignatureError, SignedRequest
from tests.parts.examples import examples
from tests.parts.hmac_requests import ISO, SECRET, reason, request, scheme
from tests.parts.setups import NOW
from tests.parts.ways import WAYS

# --- the secret itself


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([], "missing-header"),
        ([("X-Other", SECRET)], "missing-header"),
        ([("X-Token", SECRET), ("X-Token", SECRET)], "repeated-header"),
        ([("X-Token", SECRET), ("x-token", "other")], "repeated-header"),
        ([("X-Token", "")], "mismatch"),
        ([("X-Token", SECRET[:-1])], "mismatch"),
        ([("X-Token", f"{SECRET}x")], "mismatch"),
        ([("X-Token", f" {SECRET}")], "mismatch"),
        ([("X-Token", SECRET.upper())], "mismatch"),
        ([("X-Token", f"Bearer {SECRET}")], "mismatch"),
        ([("X-Token", f"{SECRET},{SECRET}")], "mismatch"),
        ([("X-Token", "\u00e9")], "mismatch"),
        ([("X-Token", f"{SECRET}\0")], "mismatch"),
        ([("X-To\u212aen", SECRET)], "missing-header"),
    ],
)
def test_a_secret_in_a_header_is_compared_whole(headers: list[tuple[str, str]], wanted: str) -> None:
    made = scheme("header-secret", header="X-Token")
    made.verify(request(("x-token", SECRET)), NOW)
    assert reason(made, request(*headers)) == wanted
    assert (made.covers_body, made.covers_time, made.header_is_secret) == (False, False, True)


@pytest.mark.parametrize("options", [{"header": ""}, {"header": "X Y"}, {"header": 5}, {"header": "X", "prefix": "\n"}])
def test_a_senseless_header_secret_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SCHEMES["header-secret"](secrets=[SECRET], **options)
    with pytest.raises(ConfigError):
        scheme("header-secret", ("two words",), header="X")


@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
def test_the_word_before_credentials_has_any_case(kind: str) -> None:
    made = SCHEMES[kind.lower()](secrets=["u:secret-secret" if kind == "Basic" else SECRET])
    [(_, good)] = made.sign(b"", url="", now=NOW, delivery_id="")
    credentials = good.partition(" ")[2]
    for word in (kind, kind.lower(), kind.upper()):
        made.verify(request(("authorization", f"{word} {credentials}")), NOW)
    for text in (
        credentials,
        f"{kind}{credentials}",
        f"{kind}  {credentials}",
        f" {good}",
        f"{good} ",
        f"{kind}\t{credentials}",
        f"{kind} {credentials.swapcase()}",
        f"Digest {credentials}",
        f"{kind}: {credentials}",
        kind,
        f"{kind}, {credentials}",
        good.replace("i", "\u0131"),
    ):
        assert reason(made, request(("Authorization", text))) == "mismatch"


# --- construction


@pytest.mark.parametrize(
    "options",
    [
        {"form": "t={timestamp}", "signed": "{timestamp}.{body}"},
        {"form": "{signature},{signature}"},
        {"form": "{timestamp}{signature}", "signed": "{timestamp}{body}"},
        {"form": "a={timestamp},b={signature};c={x}", "signed": "{timestamp}{body}"},
        {"form": 'a="{timestamp},b={signature}', "signed": "{timestamp}{body}"},
        {"form": "t={timestamp},v1={signature}"},
        {"form": "t={timestamp},v1={signature}", "separator": ",", "signed": "{timestamp}{body}"},
        {"form": "v1={signature", "signed": "body"},
        {"form": "\u00e9{signature}"},
        {"form": "v1={signature}", "prefix": "v1="},
        {"prefix": "{x}"},
        {"separator": "\n"},
        {"header": "X-Sig", "signature": "query:sig"},
        {"header": "", "signature": ""},
        {"header": "A, A"},
        {"header": "A, a"},
        {"header": "A,, B"},
        {"header": "X-{n}, Y"},
        {"header": "X-{n}-{n}"},
        {"header": ",".join(f"X-{number}" for number in range(9))},
        {"header": "", "signature": "cookie:sig"},
        {"header": "", "signature": "query:"},
        {"header": "", "signature": "field"},
        {"header": "", "signature": "header:X Y"},
        {"timestamp": "field:at", "timestamp_header": "X-Time", "signed": "{timestamp}{body}"},
        {"timestamp": "field:at", "signed": "{field:a}"},
        {"timestamp": "query:at"},
        {"timestamp_header": "X-Time", "form": "t={timestamp},v1={signature}", "signed": "{timestamp}{body}"},
        {"time_unit": "us"},
        {"encoding": "base32"},
        {"key": "rot13"},
        {"signed": "{id}.{body}"},
        {"signed": "{secret}"},
        {"signed": ""},
        {"signed": "{body:crc32}"},
        {"signed": "{body:sha256:octal}"},
        {"signed": "{header:X Y}{body}"},
        {"signed": "{cookie:a}{body}"},
        {"signed": "{body}}"},
        {"signed": "{}{body}"},
        {"signed": "{id}{body}", "id_header": "X-Sig"},
        {"signed": "{id}{body}", "id_header": "X Y"},
        {"signed": "{key}{body}"},
    ],
)
def test_options_that_make_no_sense_are_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SCHEMES["hmac"](secrets=[SECRET], **{"header": "X-Sig", **options})


def test_ids_and_field_signatures_that_cannot_work_are_explained() -> None:
    with pytest.raises(ConfigError, match="needs id_header"):
        scheme(signed="{id}.{body}")
    for signed in ("body", "{body:sha256}{field:a}"):
        with pytest.raises(ConfigError, match=r"cannot sign \{body\}"):
            scheme(signature="field:h", signed=signed)


# --- whatever comes


@given(
    way=st.sampled_from([way for way in WAYS if way.name in {"hmac", "header-secret"}]),
    part=st.sampled_from(["header", "body", "url"]),
    at=st.integers(0, 10_000),
    other=st.integers(0, 255),
)
@examples(500)
def test_a_changed_byte_is_refused_or_not_signed(way: Any, part: str, at: int, other: int) -> None:
    made, one = way.scheme(), way.signed()

    def changed(raw: bytes) -> bytes:
        return raw[: at % len(raw)] + bytes([other]) + raw[at % len(raw) + 1 :]

    if part == "header":
        place = at % len(one.headers)
        name, value = one.headers[place]
        pair = (name, changed(value.encode("latin-1")).decode("latin-1"))
        mutated = replace(one, headers=[*one.headers[:place], pair, *one.headers[place + 1 :]])
        is_signed = pair[1] != value and made.header.lower() == name.lower()
    elif part == "body":
        mutated = replace(one, body=changed(one.body))
        is_signed = mutated.body != one.body and made.covers_body and "{form" not in str(way.options)
    else:
        mutated = replace(one, url=changed(one.url.encode()).decode("latin-1"))
        is_signed = mutated.url != one.url and made.covers_url and "{target}" not in str(way.options)
    if is_signed:
        assert reason(made, mutated)
    else:
        with contextlib.suppress(SignatureError):
            made.verify(mutated, NOW)


@given(
    way=st.sampled_from([way for way in WAYS if way.name == "hmac"]),
    text=st.text(max_size=60) | st.sampled_from(["t=1,v1=", "{", "\ud800", "=,=", f"t={NOW},v1=", ISO]),
    url=st.text(max_size=40) | st.sampled_from(["https://[/?sig=%", "", None, "?signature=%ff"]),
    body=st.binary(max_size=60) | st.sampled_from([b'{"event":{"hash":"\\ud800"}}', b"json=%ff", b"--b"]),
)
@examples(500)
def test_junk_raises_a_signature_error_and_nothing_else(way: Any, text: str, url: Any, body: bytes) -> None:
    signed = way.signed()
    headers = [(name, text if at == 0 else value) for at, (name, value) in enumerate(reversed(signed.headers))]
    with pytest.raises(SignatureError):
        way.scheme().verify(SignedRequest("POST", url, headers, body), NOW)
