"""The curl line of a delivery sends the very bytes and headers that were captured."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from typing import Any

import pytest

from receiver.deliveries.delivery import Delivery, digest
from receiver.replay.curl import LARGEST_ARGUMENT, curl_line, unsendable
from receiver.replay.errors import NotReplayable
from tests.parts.deliveries import delivery
from tests.parts.listeners import KEYS, Request, listening


def sent(one: Delivery, shell: str) -> Request:
    """What the line sends, when a shell reads it; as an argument of the shell a long line would not fit."""
    with listening() as (url, noted):
        line = curl_line(one, {"PUBLIC_URL": url, "CALLBACK_KEYS": KEYS})
        subprocess.run([shell], input=line.encode(), check=True, capture_output=True, timeout=20)
    ((path, headers, body),) = noted
    assert not any(TOKEN.search(word) for word in arguments_of_curl(line))
    return path, [pair for pair in headers if pair[0] not in {"Host", "Content-Length"}], body


TOKEN = re.compile(r"/callbacks/\.?[\w-]+\.[\w-]+")


def arguments_of_curl(line: str) -> list[str]:
    """The words of the line's last command, which the list of processes shows."""
    return shlex.split(line[line.rindex("curl -q") :])


SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell}"))
    for shell in ("sh", "bash")
]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"it\'s": "quoted \\"twice\\" $HOME `id` \\n"}\n',
        b"@/etc/hostname",
        b"\r\nwindows\r\n",
        "äöü €\n".encode(),
        bytes(range(256)) * 20,
        pytest.param(b"'" * LARGEST_ARGUMENT, marks=pytest.mark.system),
        pytest.param("'ä\n".encode() * (1024 * 1024 // 4), marks=pytest.mark.system),
    ],
    ids=lambda body: f"{body[:12]!r}-{len(body)}",
)
def test_the_line_sends_what_was_captured(body: bytes, shell: str) -> None:
    target = '/callbacks/{run/1/1}?q=[1-3]&r=2"\\%41'
    headers = (("X-Twice", "a"), ("X-Twice", "b"), ("Content-Type", 'text/x; y="z"'), ("X-Empty", ""))
    one = delivery(
        body=body,
        body_size=len(body),
        body_digest=digest(body),
        headers=headers,
        target=target,
    )
    path, got_headers, got_body = sent(one, shell)
    assert got_body == body
    assert path.startswith("/callbacks/")
    assert path.endswith('?q=[1-3]&r=2"\\%41')
    assert got_headers == list(headers)


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("query", ["?a=b#c", "?#", "?a=%23#b'\"\\#c"])
def test_a_query_with_a_number_sign_is_sent_whole(shell: str, query: str) -> None:
    one = delivery(target="/callbacks/{run/1/1}" + query)
    path, _, body = sent(one, shell)
    assert (path[path.index("?") :], body) == (query, one.body)


SENDABLE = "".join(chr(byte) for byte in range(1, 256) if chr(byte) not in "\r\n")


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
def test_headers_are_sent_to_the_byte(shell: str) -> None:
    headers = (
        ("X-Latin", "caf\xe9"),
        ("X-Tab", "a\tb"),
        ("X-Every", f"a{SENDABLE}z"),
        ("-X", "\xff0%s%%\\n'\"$HOME `id` !! $(id)"),
        ("X-Plain", "100% '\"$HOME `id` \\n !!"),
    )
    _, got, _ = sent(delivery(headers=headers), shell)
    assert [pair for pair in got if pair[0] != "Content-Type"] == list(headers)


def test_what_no_header_can_hold_is_left_out() -> None:
    headers = (("X-A", "a\rb"), ("X-B", "a\nb"), ("X-C", "a\0b"), ("X-D", "\ufffd"), ("X-E", "e"))
    one = delivery(headers=headers)
    line = curl_line(one, {"PUBLIC_URL": "http://127.0.0.1:1", "CALLBACK_KEYS": KEYS})
    assert unsendable(one) == ["X-A", "X-B", "X-C", "X-D"]
    assert "X-E: e" in line
    assert line.isprintable()
    assert "X-A" not in line


def test_the_line_heeds_no_settings_of_the_machine() -> None:
    """A ~/.curlrc, or a proxy, would change what is sent, or where."""
    line = curl_line(delivery(), {"PUBLIC_URL": "http://127.0.0.1:1", "CALLBACK_KEYS": KEYS})
    assert "curl -q --noproxy '*' " in line


@pytest.mark.parametrize(("body", "asks"), [(b"", "--head "), (b"x", "-X HEAD ")])
def test_a_head_waits_for_no_body(body: bytes, asks: str) -> None:
    one = delivery(method="HEAD", body=body, body_size=len(body), body_digest=digest(body))
    line = curl_line(one, {"PUBLIC_URL": "http://127.0.0.1:1", "CALLBACK_KEYS": KEYS})
    assert asks in line
    assert ("--data" in line) == bool(body)


@pytest.mark.parametrize("changes", [{"body": None}, {"workflow_id": ""}])
def test_a_delivery_that_cannot_be_sent_again_is_said(changes: dict[str, Any]) -> None:
    with pytest.raises(NotReplayable, match="cannot be sent again"):
        curl_line(delivery(**changes), {})
