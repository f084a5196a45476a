"""The options of `hmac`: what each accepts, and the hostile requests that each refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from activities.signatures import ConfigError, SignatureError, SignedRequest
from activities.signatures.encodings import ENCODINGS
from tests.parts.hmac_requests import BODY, ISO, SECRET, mac, reason, request, scheme
from tests.parts.setups import NOW
from tests.parts.ways import JSON_TYPE

# --- time


def timed(text: str) -> SignedRequest:
    return request(("X-Time", text), ("X-Sig", mac(f"{text}.".encode("utf-8", "surrogatepass") + BODY)))


STAMPED: dict[str, Any] = {"signed": "{timestamp}.{body}", "timestamp_header": "X-Time"}


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("s", str(NOW)),
        ("s", f"00{NOW}"),
        ("ms", f"{NOW}000"),
        ("ms", f"{NOW}999"),
        ("iso", ISO),
        ("iso", "2027-01-15T09:00:00+01:00"),
        ("iso", "2027-01-15T08:00:00.123456789Z"),
    ],
)
def test_a_time_is_read_in_its_unit_and_told_in_seconds(unit: str, text: str) -> None:
    assert scheme(**STAMPED, time_unit=unit).verify(timed(text), NOW).timestamp == NOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        str(NOW),
        f"{NOW}000 ",
        f" {NOW}000",
        f"+{NOW}000",
        f"{NOW}.000",
        "1.8e12",
        f"{NOW}000000000",
        f"-{NOW}000",
        "1_800_000_000_000",
        "\uff11\uff18",
        "0x1a3185c5000",
        f"{NOW}000\n",
        ISO,
        "nan",
    ],
)
def test_milliseconds_are_digits_and_near_the_clock(text: str) -> None:
    assert reason(scheme(**STAMPED, time_unit="ms"), timed(text)) in {"malformed-timestamp", "stale"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-01-15T08:00:00",
        "2027-01-15 08:00:00Z",
        "2027-1-15T08:00:00Z",
        "2027-13-15T08:00:00Z",
        "2027-02-30T08:00:00Z",
        "2027-01-15T25:00:00Z",
        "2027-01-15T08:00:00z",
        "20270115T080000Z",
        "2027-01-15T08:00:00+0000",
        "2027-01-15T08:00:00+24:00",
        "2027-01-15T08:00:00-00:60",
        "0000-01-15T08:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "2027-01-15T08:00:00.Z",
        f"{ISO} ",
        "2027-W02-5T08:00:00Z",
        str(NOW),
        "2028-01-15T08:00:00Z",
    ],
)
def test_an_iso_time_has_one_shape_and_a_zone(text: str) -> None:
    assert reason(scheme(**STAMPED, time_unit="iso"), timed(text)) in {"malformed-timestamp", "stale"}


def test_a_time_in_another_unit_is_called_by_its_name() -> None:
    for unit, text, found in (("s", f"{NOW}000", "ms"), ("s", ISO, "iso"), ("iso", str(NOW), "s")):
        with pytest.raises(SignatureError, match=f'time_unit="{found}"'):
            scheme(**STAMPED, time_unit=unit).verify(timed(text), NOW)


@pytest.mark.parametrize(
    ("unit", "late"), [("ms", f"{NOW - 300}999"), ("ms", f"{NOW + 300}000"), ("iso", "2027-01-15T08:05:00Z")]
)
def test_the_tolerance_is_exact_in_every_unit(unit: str, late: str) -> None:
    made = scheme(**STAMPED, time_unit=unit)
    made.verify(timed(late), NOW)
    assert reason(made, timed(late), NOW + (301 if late[:10] < str(NOW) and unit == "ms" else -301)) == "stale"


def test_a_time_within_the_body_is_proven_before_it_is_read() -> None:
    made = scheme(timestamp="field:at", time_unit="ms")
    for body, wanted in (
        (f'{{"at": {NOW}000}}', ""),
        (f'{{"at": "{NOW}000"}}', ""),
        (f'{{"at": {NOW - 400}000}}', "stale"),
        ('{"at": null}', "malformed-body"),
        ('{"at": 1.8e12}', "malformed-body"),
        (f'{{"at": {NOW}000, "at": 1}}', "malformed-body"),
        ("{}", "malformed-body"),
        ("[]", "malformed-body"),
        ("no json", "malformed-body"),
        (f'{{"at": [{NOW}000]}}', "malformed-body"),
        ('{"at": ' + "9" * 5000 + "}", "malformed-body"),
    ):
        one = request(("X-Sig", mac(body)), JSON_TYPE, body=body.encode())
        assert wanted == "" or reason(made, one) == wanted
        assert wanted or made.verify(one, NOW).timestamp == NOW
    assert reason(made, request(("X-Sig", "0" * 64), body=b"no json")) == "mismatch"


# --- the form of the signature

S = mac(f"{NOW}.".encode() + BODY)
FIELDS: dict[str, Any] = {"form": "t={timestamp},v1={signature}", "signed": "{timestamp}.{body}"}


@pytest.mark.parametrize(
    "text",
    [f"t={NOW},v1={S}", f"v1={S},t={NOW}", f"t={NOW}, v1={S}", f"t={NOW},v1=old,v1={S}", f"t={NOW},v0=x,v1={S},z"],
)
def test_named_fields_come_in_any_order_among_others(text: str) -> None:
    assert scheme(**FIELDS).verify(request(("X-Sig", text)), NOW).timestamp == NOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        S,
        f"v1={S}",
        f"t={NOW}",
        f"t={NOW},t={NOW},v1={S}",
        f"t=1,t={NOW},v1={S}",
        f"T={NOW},v1={S}",
        f"t={NOW};v1={S}",
        f"t={NOW},V1={S}",
        f"t={NOW},v1= {S}",
        f"t ={NOW},v1={S}",
        f" t={NOW},v1={S}",
        f"t={NOW},v1={S} ",
        f"t={NOW},v1={S}\n",
        f"t={NOW},v0={S}",
        f"t={NOW},v1={S.upper()}",
        f"t={NOW},v1==,v1={S[:-1]}",
        f"t={NOW},{'v1=x,' * 40}v1={S}",
        f"t={NOW},{'x,' * 40}v1={S}",
    ],
)
def test_fields_of_a_header_are_read_strictly(text: str) -> None:
    assert reason(scheme(**FIELDS), request(("X-Sig", text))) in {"malformed-header", "malformed-timestamp", "mismatch"}


def test_quoted_fields_and_unsigned_ones_are_read() -> None:
    made = scheme(form='Acme key="{key}", time="{timestamp}", signature="{signature}"', signed="{timestamp}.{body}")
    for text in (f'Acme key="k", time="{NOW}", signature="{S}"', f'Acme signature="{S}",time="{NOW}",key=""'):
        made.verify(request(("X-Sig", text)), NOW)
    for text in (f'key="k",time="{NOW}",signature="{S}"', f'Acme key="k",time={NOW},signature="{S}"'):
        assert reason(made, request(("X-Sig", text))) == "malformed-header"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"{NOW},{S}", True),
        (f"{NOW},old,{S}", True),
        (S, False),
        (str(NOW), False),
        ("", False),
        (f"{S},{NOW}", False),
        (f"{NOW};{S}", False),
        (f"{NOW},", False),
        (f",{S}", False),
        (f" {NOW},{S}", False),
        (f"{NOW} ,{S}", False),
        (f"{NOW},{S} ", False),
        (f"{NOW},{'x,' * 40}{S}", False),
    ],
)
def test_fields_without_names_have_their_places(text: str, good: bool) -> None:
    made = scheme(form="{timestamp},{signature}", signed="{timestamp}.{body}")
    if good:
        made.verify(request(("X-Sig", text)), NOW)
    else:
        assert reason(made, request(("X-Sig", text)))


B = mac(BODY)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"v1={B}", True),
        (f"v1={'0' * 64},v1={B}", True),
        (f"v0=x, v1={B}", True),
        (B, False),
        (f"v2={B}", False),
        (f"v1={B};v1=x", False),
        (f"{'v1=x,' * 40}v1={B}", False),
        (f" v1={B}", False),
        (f"v1={B} ", False),
        (f"v1={B.upper()}", False),
        (f"v1=v1={B}", False),
        (",", False),
        (f"v1={B[:-1]}", False),
        (f"v1={B}0", False),
        (f"v1={B} v1=x", False),
    ],
)
def test_a_list_of_signatures_is_capped_and_strict(text: str, good: bool) -> None:
    made = scheme(prefix="v1=", separator=",")
    if good:
        made.verify(request(("X-Sig", text)), NOW)
    else:
        assert reason(made, request(("X-Sig", text))) == "mismatch"


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([("X-A", B)], ""),
        ([("x-b", B)], ""),
        ([("X-A", "old"), ("X-B", B)], ""),
        ([], "missing-header"),
        ([("X-C", B)], "missing-header"),
        ([("X-A-B", B)], "missing-header"),
        ([("X-A", B), ("x-a", B)], "repeated-header"),
        ([("X-A", B), ("X-B", "x"), ("X-B", "x")], "repeated-header"),
        ([("X-A", f"{B},{B}")], "mismatch"),
        ([("X-A", "x"), ("X-B", "y")], "mismatch"),
        ([("X-A", ""), ("X-B", "")], "mismatch"),
        ([("X-A", B.upper())], "mismatch"),
        ([("X-\u212a", B)], "missing-header"),
    ],
)
def test_each_key_may_have_a_header_of_its_own(headers: list[tuple[str, str]], wanted: str) -> None:
    made = scheme(header="X-A, X-B")
    if wanted:
        assert reason(made, request(*headers)) == wanted
    else:
        made.verify(request(*headers), NOW)


# --- encodings and keys


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_signature_has_one_spelling(encoding: str) -> None:
    made, raw = scheme(encoding=encoding, algorithm="sha1"), hmac.digest(SECRET.encode(), BODY, "sha1")
    good = ENCODINGS[encoding](raw)
    made.verify(request(("X-Sig", good)), NOW)
    others = {encode(raw) for encode in ENCODINGS.values()} - {good}
    for text in (
        *others,
        f"{good} ",
        f" {good}",
        f"{good}=",
        good[:-1],
        good.swapcase(),
        good[::-1],
        "",
        good + "\0",
        f'"{good}"',
    ):
        assert reason(made, request(("X-Sig", text))) == "mismatch"


def test_the_last_bits_of_base64_are_not_free() -> None:
    made = scheme(encoding="base64url", algorithm="sha1")
    good = ENCODINGS["base64url"](hmac.digest(SECRET.encode(), BODY, "sha1"))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for last in set(alphabet) - {good[-1]}:
        assert reason(made, request(("X-Sig", good[:-1] + last))) == "mismatch"


RAW = bytes(range(200, 232))


@pytest.mark.parametrize(
    ("kind", "secret", "key"),
    [
        ("text", SECRET, SECRET.encode()),
        ("base64", base64.b64encode(RAW).decode(), RAW),
        ("base64", "whsec_" + base64.b64encode(RAW).decode(), RAW),
        ("base64url", base64.urlsafe_b64encode(RAW).decode(), RAW),
        ("base64url", base64.urlsafe_b64encode(RAW).decode().rstrip("="), RAW),
        ("hex", RAW.hex(), RAW),
        ("hex", RAW.hex().upper(), RAW),
        ("sha1", SECRET, hashlib.sha1(SECRET.encode()).digest()),
        ("sha256", SECRET, hashlib.sha256(SECRET.encode()).digest()),
    ],
)
def test_a_key_is_what_its_secret_says(kind: str, secret: str, key: bytes) -> None:
    made = scheme(secrets=(secret,), key=kind)
    made.verify(request(("X-Sig", hmac.digest(key, BODY, "sha256").hex())), NOW)
    assert reason(made, request(("X-Sig", mac(BODY, key="another")))) == "mismatch"


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        ("base64", "not base64!"),
        ("base64", base64.b64encode(RAW).decode().rstrip("=")),
        ("base64", base64.urlsafe_b64encode(RAW).decode()),
        ("base64", "AAAA"),
        ("base64", base64.b64encode(bytes(32)).decode()),
        ("base64", "whsec_whsec_" + base64.b64encode(RAW).decode()),
        ("base64url", base64.b64encode(RAW).decode()),
        ("base64url", "\u00e9" * 12),
        ("hex", RAW.hex()[:-1]),
        ("hex", f"0x{RAW.hex()}"),
        ("hex", f"{RAW.hex()[:8]} {RAW.hex()[8:]}"),
        ("hex", "00112233"),
        ("hex", "\uff10" * 32),
        ("hex", "00" * 32),
    ],
)
def test_a_key_that_cannot_be_decoded_is_an_error(kind: str, secret: str) -> None:
    with pytest.raises(ConfigError):
        scheme(secrets=(secret,), key=kind)


def test_a_secret_given_as_the_kind_of_key_is_not_quoted() -> None:
    with pytest.raises(ConfigError, match="unknown key: use one of text, base64") as raised:
        scheme(key=SECRET)
    assert SECRET not in str(raised.value)
