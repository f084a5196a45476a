"""`stagehook signature verify` reads a request in every form in which it is kept, and says what is no request."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.cli import run
from tests.parts.examples import examples
from tests.parts.setups import NOW, URL
from tests.parts.signature_command import (
    BODY,
    GITHUB,
    SECRETS,
    STRIPE,
    Done,
    command,
    redirected,
    refused,
    signed_headers,
)

SQUARE = ("--scheme", "square", "--secret-env", "SECRET")


def stdin_of(headers: list[str], body: bytes = BODY, newline: str = "\r\n") -> bytes:
    head = ["POST /callbacks/x?a=1 HTTP/1.1", "Host: hooks.example.com", *headers, "", ""]
    return newline.join(head).encode("latin-1") + body


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
@pytest.mark.parametrize("body", [BODY, b"", b"\r\n\r\n\xff\x00\n", b"POST / HTTP/1.1\r\n\r\n"])
def test_a_raw_request_is_read_to_the_byte(newline: str, body: bytes) -> None:
    raw = stdin_of(signed_headers(*GITHUB, body=body), body, newline)
    assert command("verify", *GITHUB, given=raw).code == 0
    assert command("verify", *GITHUB, given=b"\r\n" + raw).code == 0
    assert command("verify", *GITHUB, given=raw + b"\n").code == 1


def test_a_raw_request_without_a_body_needs_no_blank_line() -> None:
    raw = stdin_of(signed_headers(*GITHUB, body=b""), b"").rstrip(b"\r\n")
    assert command("verify", *GITHUB, given=raw).code == 0


def test_a_header_that_was_folded_into_lines_is_one() -> None:
    folded = [line.replace(": ", ": \r\n\t") for line in signed_headers(*GITHUB)]
    assert command("verify", *GITHUB, given=stdin_of(folded)).code == 0


def record(headers: list[str], **changes: Any) -> bytes:
    pairs = [line.split(": ", 1) for line in headers]
    body = base64.b64encode(BODY).decode()
    return json.dumps({"method": "POST", "target": "/x", "headers": pairs, "body": body, **changes}).encode()


@pytest.mark.parametrize("received_at", [NOW, NOW + 0.5, "2027-01-15T08:00:00+00:00"])
def test_a_recorded_delivery_is_checked_at_its_receipt_time(received_at: Any) -> None:
    line = record(signed_headers(*STRIPE, "--at", str(NOW)), received_at=received_at)
    assert command("verify", *STRIPE, given=line).code == 0
    assert command("verify", *STRIPE, "--at", str(NOW + 1000), given=line).code == 1
    assert command("verify", *STRIPE, given=record(signed_headers(*STRIPE, "--at", str(NOW)))).code == 1


def test_a_file_is_read_like_stdin(tmp_path: Path) -> None:
    request, headers = tmp_path / "request.http", tmp_path / "headers"
    request.write_bytes(stdin_of(signed_headers(*GITHUB)))
    headers.write_text("\r\n".join([*signed_headers(*GITHUB), ""]))
    assert command("verify", *GITHUB, str(request)).code == 0
    assert command("verify", *GITHUB, "--header", f"@{headers}", given=BODY).code == 0


@pytest.mark.parametrize(
    ("change", "env"),
    [
        ({"target": "/callbacks/token?a=1"}, {"PUBLIC_URL": "https://hooks.example.com/"}),
        ({"url": URL}, {}),
        ({"target": URL}, {"PUBLIC_URL": "https://elsewhere.example.com"}),
    ],
)
def test_the_url_is_that_of_the_record_at_public_url(change: dict[str, str], env: dict[str, str]) -> None:
    headers = signed_headers(*SQUARE, "--url", URL)
    assert command("verify", *SQUARE, given=record(headers, **change), env={**SECRETS, **env}).code == 0
    other = command("verify", *SQUARE, "--url", f"{URL}&b=2", given=record(headers, **change), env={**SECRETS, **env})
    assert "check --url" in other.out


@pytest.mark.parametrize("target", ["", "/callbacks/{run/1/1}"])
def test_a_url_that_is_signed_and_not_known_is_asked_for(target: str) -> None:
    """A recorded delivery names the run in place of the callback token."""
    line = record(signed_headers(*SQUARE, "--url", URL), target=target)
    env = {**SECRETS, "PUBLIC_URL": "https://hooks.example.com"}
    assert "signs the URL" in refused(command("verify", *SQUARE, given=line, env=env))
    assert "signs the URL" in refused(command("sign", *SQUARE, given=BODY))
    assert command("verify", *SQUARE, "--url", URL, given=line, env=env).code == 0


@pytest.mark.parametrize(
    ("target", "body", "told"),
    [
        ("/partners/acme", b'{"callback_url": "{run-1/1/2}"}', "{run-1/1/2}"),
        ("/partners/acme?a=1", b'{"token": "{unknown}"}', "{unknown}"),
        ("/callbacks/{run/1/1}", b'{"note": "[redacted]"}', "[redacted]"),
        ("/callbacks/{run/1/1}", b'{"path": "{a/1/2}"}', ""),
        ("/partners/acme", b'{"status": "done", "url": "/x/1/2"}', ""),
    ],
)
def test_a_body_recorded_without_its_secrets_is_said_first(target: str, body: bytes, told: str) -> None:
    headers = signed_headers(*GITHUB, body=b"what the partner sent")
    line = record(headers, target=target, body=base64.b64encode(body).decode())
    done = command("verify", *GITHUB, given=line)
    assert (done.code, done.out.splitlines()[0]) == (1, "NOT verified: key or bytes")
    assert done.err.startswith(f"{told} stands in this body where a token or a secret was") if told else not done.err


def test_a_recorded_body_with_a_right_signature_needs_no_note() -> None:
    body = b'{"note": "[redacted]"}'
    line = record(signed_headers(*GITHUB, body=body), target="/partners/acme", body=base64.b64encode(body).decode())
    done = command("verify", *GITHUB, given=line)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "args", [["--header", ""], ["--header", "no colon"], ["--header", "@/nowhere"], ["--header", ": x"]]
)
def test_what_is_no_header_exits_2(args: list[str]) -> None:
    refused(command("verify", *GITHUB, *args, given=BODY))


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        b"\x00\xff\xfe binary junk \x80" * 50,
        b"<html></html>",
        b"GET / HTTP/1.1\r\nno header here\r\n\r\n",
        b"POST / HTTP/1.1\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"{",
        b"{}",
        b"[]",
        b'{"headers": [], "body": null}',
        b'{"headers": [], "body": "!"}',
        b'{"headers": [], "body": 1}',
        b'{"headers": {}, "body": ""}',
        b'{"headers": [["a"]], "body": ""}',
        b'{"headers": [[1, 2]], "body": ""}',
        b'{"headers": [], "body": "", "method": 1}',
        b'{"headers": [], "body": "", "target": 1}',
        b'{"headers": [], "body": "", "received_at": "x"}',
        b'{"headers": [], "body": "\\ud800"}',
        b'{"headers": [], "body": ""}\n{"headers": [], "body": ""}\n',
        b"{" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda given: repr(given[:40]),
)
def test_what_is_no_request_is_two_lines_and_exits_2(given: bytes) -> None:
    refused(command("verify", *GITHUB, given=given))


@given(
    given=st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda rest: b"POST /x HTTP/1.1\r\n" + rest))
)
@examples(150)
def test_any_bytes_end_with_a_verdict_or_two_lines(given: bytes) -> None:
    done = command("verify", *GITHUB, given=given)
    assert done.code in {1, 2}
    if done.code == 2:
        refused(done)


def test_a_closed_stdin_is_told() -> None:
    with patch.dict("os.environ", SECRETS), patch.object(sys, "stdin", None), redirected() as (out, err):
        code = run(["signature", "verify", *GITHUB])
    assert "stdin is closed" in refused(Done(code, out.getvalue(), err.getvalue()))
