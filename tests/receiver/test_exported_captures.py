"""What an export holds back: credentials, addresses, and the secrets that settings name."""

from __future__ import annotations

import base64
import json
import random

import pytest

from activities.known_secrets import known_secrets
from receiver.deliveries.delivery import read_line
from tests.parts.captured_secrets import HIDDEN, SECRET, SECRETS, find, line, redact
from tests.parts.deliveries import delivery


def test_what_is_exported_has_no_secret_and_no_address() -> None:
    one = delivery(
        body=f"x {SECRET} y".encode(),
        client="192.0.2.7",
        headers=(("X-Forwarded-For", "192.0.2.8"), ("X-Note", SECRET), ("X-Note", "kept")),
    )
    clean = redact(one, SECRETS)
    assert clean.headers == (("X-Note", "[redacted]"), ("X-Note", "kept"))
    assert (clean.body, clean.client) == (b"x [redacted] y", "")
    assert read_line(json.dumps(clean.as_json()).encode()) == clean


def test_no_credential_is_exported_whoever_recorded_it() -> None:
    headers = (("Authorization", "Basic YTpi"), ("X-Passcode", "1234"), ("X-Signature", "kept"))
    assert redact(delivery(headers=headers), {}).headers == (("X-Signature", "kept"),)


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For",
        "X-Cluster-Client-IP",
        "X-Envoy-External-Address",
        "Fastly-Client-IP",
        "X-Vercel-Forwarded-For",
        "X-Original-Forwarded-For",
    ],
)
def test_no_address_is_exported_whatever_router_wrote_it(name: str) -> None:
    assert redact(delivery(headers=((name, "192.0.2.8"),)), {}).headers == ()


@pytest.mark.parametrize("written", ["p@ss:w/rd", "p%40ss:w%2frd", "p%40ss%3Aw%2Frd"])
def test_the_databases_password_is_known_plain_and_encoded(written: str) -> None:
    known = known_secrets({"DATABASE_URL": "postgres://user:p%40ss:w%2frd@db.example/x"})
    told = line(f"password={written}".encode())
    assert set(find(told, known)) == {"DATABASE_URL's password"}
    assert redact(read_line(told), known).body == b"password=[redacted]"


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
def test_a_secret_is_blotted_out_however_it_is_written(hidden: bytes) -> None:
    clean = redact(read_line(line(b"before " + hidden + b" after", headers=(("X-Odd", hidden.decode()),))), SECRETS)
    assert find(json.dumps(clean.as_json()).encode(), SECRETS) == []


@pytest.mark.parametrize("prefix", ["whsec_", "whsk_"])
def test_a_secret_is_known_without_its_prefix_too(prefix: str) -> None:
    """The part behind it is the key, and works as the whole does."""
    bare = base64.b64encode(bytes(range(32))).decode()
    known = known_secrets({"ACME_SECRET": prefix + bare})
    assert set(find(line(f"key={bare}".encode()), known)) == {"ACME_SECRET without its prefix"}
    assert redact(read_line(line(f"key={bare}".encode())), known).body == b"key=[redacted]"


def test_secrets_are_known_by_the_names_of_their_variables() -> None:
    known = known_secrets(
        {
            "CALLBACK_KEYS": "first-key-of-two, second-key-of-two",
            "ACME_SECRET": SECRET,
            "ACME_PASSWD": "a1b2c3,d4e5f6",
            "REDIS_URL": "redis://user:pass-word-2@redis.example",
            "REPLICA_URL": "postgres://user@db.example/x?sslmode=require&password=pass%2Fword-3",
            "TEMPORAL_API_KEY": "temporal-key",
            "DATABASE_URL": "postgres://user:pass-word-1@db.example/x",
            "PUBLIC_URL": "https://hooks.example.com",
            "SHORT_TOKEN": "abc",
        }
    )
    assert known == {
        "CALLBACK_KEYS": "first-key-of-two, second-key-of-two",
        "CALLBACK_KEYS 1": "first-key-of-two",
        "CALLBACK_KEYS 2": "second-key-of-two",
        "ACME_SECRET": SECRET,
        "ACME_PASSWD": "a1b2c3,d4e5f6",
        "REDIS_URL's password": "pass-word-2",
        "REPLICA_URL's password in its query": "pass/word-3",
        "TEMPORAL_API_KEY": "temporal-key",
        "DATABASE_URL's password": "pass-word-1",
    }


def test_json_without_commas_is_read_and_a_hint_is_not_a_secret() -> None:
    told = {"KEY_FILE": "/run/keys/acme", "TOKEN_TYPE": "service_account", "SECRET_KEY_ID": "key-number-one"}
    known = known_secrets({"GOOGLE_KEY": '{"type": "svc", "private_key": "abcdefgh"}', **told})
    assert list(known) == ["GOOGLE_KEY"]


@pytest.mark.parametrize("secret", ["redacted", "[redacted]"])
def test_a_secret_that_stands_in_its_own_place_destroys_no_body(secret: str) -> None:
    known = known_secrets({"A_SECRET": secret, "B_SECRET": SECRET})
    assert redact(read_line(line(f"x {secret} {SECRET}".encode())), known).body == f"x {secret} [redacted]".encode()


@pytest.mark.parametrize("secret", ["12345678", "11111111", "00000000", "1000000000"])
def test_a_number_in_a_secrets_place_leaves_json_valid(secret: str) -> None:
    hidden = json.dumps({"pin": int(secret), "text": secret}).encode()
    clean = redact(read_line(line(hidden)), {"PIN_KEY": secret})
    assert set(json.loads(clean.body or b"")) == {"pin", "text"}
    assert find(json.dumps(clean.as_json()).encode(), {"PIN_KEY": secret}) == []


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"document": base64.b64encode(random.Random(1).randbytes(700_000)).decode()}).encode(),
        json.dumps(
            [{"id": f"{n:032x}", "url": f"https://shop.example/a%20b/{n}", "say": 'a "b"\n'} for n in range(7000)]
        ),
    ],
    ids=["a document", "many records"],
)
def test_a_large_body_of_a_partner_stays(body: bytes | str) -> None:
    body = body if isinstance(body, bytes) else body.encode()
    assert redact(read_line(line(body)), SECRETS).body == body


def test_the_headers_of_a_collector_are_secrets() -> None:
    """As they are written, percent-encoded, and as they are sent, without the scheme."""
    variables = {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20aGVsbG8%3D, x-team=s3cret-team-key,short=1"}
    assert set(known_secrets(variables).values()) == {"aGVsbG8=", "Bearer%20aGVsbG8%3D", "s3cret-team-key"}
    found = known_secrets({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:p4ss-word@collector.example"})
    assert list(found.values()) == ["p4ss-word"]
