"""What is kept of a request, and what never is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from starlette.requests import Request

from activities.callback_urls import CallbackURLs, Claims
from activities.redaction.headers import is_credential
from activities.signatures import SCHEMES
from activities.signatures.hmac_options import ROWS
from receiver.answers import Verdict
from receiver.deliveries import capture
from receiver.deliveries.capture import MOST_SEARCHED, Capture
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES
from tests.support import KEY

CLAIMS = Claims("run", "chain", 2, 3, "bank", 1_790_000_000, 4_000_000_000)
TOKEN = CallbackURLs("http://receiver.test", [KEY]).issue(CLAIMS).rpartition("/")[2]


def captured(*headers: tuple[str, str], query: str = "", token: str = TOKEN, **found: Any) -> Capture:
    scope = {
        "type": "http",
        "method": "POST",
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("192.0.2.1", 1234),
    }
    capture = Capture.of(Request(scope), token)
    for name, value in found.items():
        setattr(capture, name, value)
    return capture


def test_the_token_is_replaced_by_its_claims_wherever_it_stands() -> None:
    headers = (("Referer", f"https://x.example/{TOKEN}"), ("X-Plain", "1"))
    one = captured(*headers, query=f"again={TOKEN}", claims=CLAIMS, body=b"{}").delivery(Verdict.ACCEPTED)
    assert one.target == "/callbacks/{run/2/3}?again={run/2/3}"
    assert one.headers == (("Referer", "https://x.example/{run/2/3}"), ("X-Plain", "1"))
    assert one.claims == CLAIMS


def test_a_token_that_is_none_is_not_kept_either() -> None:
    one = captured(token="something.forged").delivery(Verdict.UNKNOWN)
    assert (one.target, one.claims, one.replayable) == ("/callbacks/{unknown}", None, False)


def test_a_token_of_a_few_letters_spoils_no_other_text() -> None:
    one = captured(("Accept-Encoding", "gzip, deflate"), token="a").delivery(Verdict.UNKNOWN)
    assert (one.target, one.headers) == ("/callbacks/{unknown}", (("Accept-Encoding", "gzip, deflate"),))


@pytest.mark.parametrize("where", ['{"metadata": {"callback": "%s"}}', '{"elsewhere": "x%%2F%s', "broken %s"])
def test_a_body_refused_at_a_partners_url_keeps_no_token(where: str) -> None:
    """Its signature was wrong, its token in another field, or it could not be read: the token may be a good one."""
    body = (where % TOKEN).encode()
    for token in ("", "none"):
        capture = captured(("X-Work", TOKEN), query=f"work={TOKEN}", token=token, body=body)
        capture.at_partner_url("/partners/bank", "bank")
        one = capture.delivery(Verdict.UNPROVEN)
        assert TOKEN.encode() not in (one.body or b"")
        assert b"[redacted]" in (one.body or b"")
        assert (one.target, one.headers) == ("/partners/bank?work=[redacted]", (("X-Work", "[redacted]"),))


@pytest.mark.parametrize(
    "written",
    [
        TOKEN,
        "".join(f"%{ord(letter):02X}" for letter in TOKEN),
        "".join(f"\\u{ord(letter):04x}" for letter in TOKEN),
        TOKEN.replace(".", "%252E"),
        TOKEN.replace(".", "\\\\u002e"),
    ],
)
def test_a_token_in_any_spelling_is_found_in_any_header(written: str) -> None:
    plain = tuple((f"X-{number}", "plain text. And more.") for number in range(50))
    headers = (*plain, ("X-Link", f"https://x.example/callbacks/{written}"), *plain)
    *first, link = captured(*headers, claims=CLAIMS).delivery(Verdict.ACCEPTED).headers[:51]
    assert tuple(first) == plain
    assert link[1] in {"https://x.example/callbacks/{run/2/3}", "https://x.example/callbacks/[redacted]"}


def run_in(folder: str, work: Callable[[], Any]) -> list[str]:
    """The Python functions of a folder that the work calls."""
    called: list[str] = []

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and folder in frame.f_code.co_filename:
            called.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return called


def test_an_ordinary_callback_runs_nothing_of_the_redactor() -> None:
    headers = (("User-Agent", "Partner/1.2 (+https://x.example)"), ("X-Signature", "v1,c2lnbmF0dXJl"), ("Cookie", "a"))
    one = captured(*headers, query="try=2", claims=CLAIMS, body=b'{"status": "succeeded"}')
    is_credential.cache_clear()
    assert "is_credential" in run_in("activities/redaction/", lambda: record(one))
    assert run_in("activities/redaction/", lambda: record(one)) == []  # the names of headers are known from then on


def record(one: Capture) -> None:
    assert one.delivery(Verdict.ACCEPTED).headers == tuple(one.headers[:2])


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The texts that are searched for tokens."""
    found: list[bytes] = []

    def search(text: bytes) -> bytes:
        found.append(text)
        return text

    monkeypatch.setattr(capture, "without_tokens", search)
    return found


def test_headers_that_hold_no_token_are_not_searched(searched: list[bytes]) -> None:
    headers = tuple((f"x-{number}", "W/ v1,t=1.5; a=b ..." * 10) for number in range(100))
    assert captured(*headers, query="a=1", claims=CLAIMS).delivery(Verdict.ACCEPTED).headers == headers
    assert b"W/" not in b"".join(searched)


def test_no_more_than_so_much_of_a_head_is_searched(searched: list[bytes]) -> None:
    headers = [(f"x-{number}", "%2525252e" * 30) for number in range(100)]
    one = captured(*headers, query="%2525252e" * 1000, claims=CLAIMS).delivery(Verdict.ACCEPTED)
    assert sum(map(len, searched)) <= 2 * MOST_SEARCHED
    assert one.headers[0] == headers[0]
    assert one.headers[-1] == ("x-99", "[redacted]")
    assert one.target == "/callbacks/{run/2/3}?[redacted]"


def test_headers_are_kept_in_order_and_as_often_as_they_came() -> None:
    headers = (("B", "1"), ("a", "2"), ("B", "3"), ("a", "\xe9"))
    assert captured(*headers, claims=CLAIMS, body=b"").delivery(Verdict.ACCEPTED).headers == headers


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-Api-Key",
        "X-Auth-Token",
        "X-Gitlab-Token",
        "X-Hook-Secret",
        "Ocp-Apim-Subscription-Key",
        "X-Functions-Key",
        "X-AuthToken",
        "X-Acme-AccessToken",
        "X-Session-Id",
        "X-Jwt",
        "X-Jwt-Assertion",
        "X-Signature-Key",
        "X-Webhook-Signature-Secret",
        "X-Authentication",
        "OK-ACCESS-PASSPHRASE",
        "X-Bearer",
        "X-Access-Code",
        "X-Pin",
        "X-AppSecret",
        "X-ClientSecret",
        "X-SessionId",
        "X-Token2",
        "X-OAuth2Token",
        "X-Api-Key2",
        "XUserPassword",
        "X-WebhookSecret",
        "X-Auth2",
        "verif-hash",
        "X-Pwd",
        "X-Sid",
        "X-Otp",
        "X-GitHub-OTP",
        "X-Passcode",
        "X-Creds",
        "X-AccessCode",
        "access_code",
        "X-UserPass",
        "X-AuthPass",
        "X-AuthCode",
        "X-WSSE",
        "DPoP",
        "X-Client-Assertion",
        "X-Ticket",
        "aeg-sas-sig",
        "x-amzn-oidc-data",
    ],
)
def test_credentials_are_dropped(name: str) -> None:
    assert captured((name, "secret"), claims=CLAIMS).delivery(Verdict.ACCEPTED).headers == ()


@pytest.mark.parametrize(
    "name",
    [
        "webhook-signature",
        "X-Hub-Signature-256",
        "X-DocuSign-Signature-1",
        "X-Signature-Ed25519",
        "X-Token-Signature",
        "X-Signature-Key-Id",
        "Stripe-Signature",
        "webhook-id",
        "X-Slack-Request-Timestamp",
        "Idempotency-Key",
        "X-Idempotency-Key",
        "Date",
        "X-Author",
        "X-Pinned",
        "X-Keyboard",
        "X-Ticket-Id",
        "X-Event-Key",
        "PayPal-Auth-Algo",
        "PayPal-Auth-Version",
        "X-Circle-Key-Id",
        "GitHub-Public-Key-Identifier",
        "X-Pusher-Key",
        "X-Ably-Key",
        "I-Twilio-Idempotency-Token",
        "ce-partitionkey",
        "X-Key-Id",
        "X-Signing-Key-Id",
        "X-Public-Key-Id",
        "X-Authorization-Timestamp",
        "X-Authorization-Content-SHA256",
        "X-Auth-Timestamp",
        "X-Auth-Nonce",
    ],
)
def test_what_a_signature_is_made_of_is_kept(name: str) -> None:
    assert not is_credential(name)


def test_every_header_that_a_scheme_reads_is_kept() -> None:
    read = [
        (row.options.header.replace("{n}", "1"), row.options.timestamp_header, *(row.says or ())[:1])
        for row in ROWS.values()
    ]
    rows = [name for names in read for name in names if name]
    others = [scheme.header for scheme in SCHEMES.values() if scheme.header and not scheme.header_is_secret]
    assert {"X-Authorization-Digest", "webhook-signature"} <= {*rows, *others}
    assert [name for name in (*rows, *others) if is_credential(name)] == []


def test_a_header_that_holds_a_partners_secret_is_not_kept() -> None:
    one = captured(("X-Check", "a-secret"), ("X-Other", "kept"), claims=CLAIMS)
    one.secret_headers = {"x-check"}
    kept = dict(one.delivery(Verdict.UNPROVEN, "mismatch").headers)
    assert "a-secret" not in kept.values()
    assert kept["X-Other"] == "kept"


def test_a_refused_body_over_the_cap_leaves_its_size_and_digest() -> None:
    body = b"x" * (MAX_REFUSED_BODY_BYTES + 1)
    one = captured(claims=CLAIMS, body=body).delivery(Verdict.UNPROVEN, "mismatch")
    assert (one.body, one.body_size, one.replayable) == (None, len(body), False)
    assert captured(claims=CLAIMS, body=body).delivery(Verdict.ACCEPTED).body == body


def test_a_nul_does_not_reach_the_store() -> None:
    assert captured(("X-Odd", "a\0b"), claims=CLAIMS).delivery(Verdict.ACCEPTED).headers == (("X-Odd", "a\ufffdb"),)


def test_another_callback_url_in_the_query_is_not_kept() -> None:
    one = captured(query=f"return=http://x/callbacks/{TOKEN[:-3]}abc", claims=CLAIMS).delivery(Verdict.ACCEPTED)
    assert one.target == "/callbacks/{run/2/3}?return=http://x/callbacks/[redacted]"


def test_a_body_without_an_end_has_the_size_of_what_was_read() -> None:
    """And no digest: it would be taken for the whole body's."""
    one = captured(claims=CLAIMS, unread=(4, "")).delivery(Verdict.TOO_SLOW)
    assert (one.body, one.body_size, one.body_digest, one.replayable) == (None, 4, "", False)
