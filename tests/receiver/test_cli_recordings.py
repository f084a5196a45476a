"""Requests that other tools have recorded: entries of HAR files, and what `curl -v` prints."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from receiver.cli.errors import CommandError
from receiver.cli.signature.recordings import Exchange, read_curl, read_har

HEADERS = [{"name": ":authority", "value": "x"}, {"name": "X-Sign", "value": "s"}]
REQUEST: dict[str, Any] = {"method": "POST", "url": "https://hooks.test/x?a=1", "httpVersion": "2", "headers": HEADERS}
TEXT = {"mimeType": "text/xml", "text": "<a/>"}
READ = Exchange("POST", "https://hooks.test/x?a=1", [("X-Sign", "s"), ("Content-Type", "text/xml")], b"<a/>")


def har(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_har_file_an_entry_and_a_request_are_read_alike() -> None:
    request = {**REQUEST, "postData": TEXT}
    other = {"request": {**REQUEST, "method": "GET"}}
    for value in (request, {"request": request}, {"log": {"entries": [other, {"request": request}]}}):
        assert read_har(har(value)) == READ


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        ({"text": base64.b64encode(b"\xff").decode(), "encoding": "base64"}, b"\xff"),
        ({"mimeType": "a/b", "params": [{"name": "a", "value": "1 2"}]}, b"a=1+2"),
        ({"text": ""}, b""),
    ],
)
def test_the_body_of_a_har_entry_may_be_encoded(sent: object, body: bytes) -> None:
    read = read_har(har({**REQUEST, "postData": sent}))
    assert read is not None
    assert read.body == body


@pytest.mark.parametrize("value", [{"status": "done"}, {"request": "x"}, {"log": []}, {"method": "POST"}])
def test_other_json_is_not_a_har_file(value: object) -> None:
    assert read_har(har(value)) is None


def test_one_of_several_requests_must_be_chosen() -> None:
    with pytest.raises(CommandError, match="holds 2 requests"):
        read_har(har({"log": {"entries": [{"request": REQUEST}] * 2}}))


SENT = "* Connected\n> POST /x?a=1 HTTP/2\n> Content-Type: application/json\n> X-Empty:\n>{}\n"
ANSWER = "* upload completely sent off\n< HTTP/2 202\n< X-Theirs: a\n<\nanswer"
HEAD = [("Content-Type", "application/json"), ("X-Empty", "")]
COMMANDS = (
    "curl -v -H 'A: b' -d '{\"a\":\n1}' https://hooks.test/x\n",
    "$ curl --verbose \\\n  --data-raw='{\"a\":\n1}' https://hooks.test/x\n",
)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_body_that_curl_sent_is_in_its_command(command: str, newline: str) -> None:
    text = command + SENT.format("") + ANSWER
    expected = Exchange("POST", "/x?a=1", HEAD, b'{"a":\n1}')
    assert read_curl(text.replace("\n", newline).encode()) == expected


@pytest.mark.parametrize("body", ['{"a":\n1}\n', '> {"a":\n> 1}\n'])
def test_a_body_that_was_put_after_the_headers_is_read(body: str) -> None:
    text = SENT.format("") + body + ANSWER
    assert read_curl(text.encode()) == Exchange("POST", "/x?a=1", HEAD, b'{"a":\n1}')


def test_a_command_alone_is_enough() -> None:
    read = read_curl(b"curl -X PUT -H 'A: b' --data a=1 -d b=2 https://hooks.test/x")
    typed = [("A", "b"), ("Content-Type", "application/x-www-form-urlencoded")]
    assert read == Exchange("PUT", "https://hooks.test/x", typed, b"a=1&b=2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SENT.format("") + ANSWER, "does not hold the request's body"),
        ("curl -d @file https://hooks.test/x", "reads its body from a file"),
        ("curl -d 'open https://hooks.test/x", "open quotation mark"),
    ],
)
def test_what_is_missing_is_said(text: str, says: str) -> None:
    with pytest.raises(CommandError, match=says):
        read_curl(text.encode())


@pytest.mark.parametrize("text", [b"", b'{"a": 1}', b"curly=1", b"\xff"])
def test_anything_else_is_not_from_curl(text: bytes) -> None:
    assert read_curl(text) is None
