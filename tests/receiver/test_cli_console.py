"""`stagehook console`: where it listens, and who may enter."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx
import pytest

from receiver.cli.demo.processes import bare_environment, free_port
from receiver.cli.demo.stack import stagehook_command
from receiver.cli.errors import Exit
from tests.commands import command
from tests.local_stack import running
from tests.parts.consoles import PASSWORD
from tests.parts.outages import STARTS_WITHIN


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["--host", "0.0.0.0"], {}, "no password is set"),
        (["--host", "::"], {}, "no password is set"),
        (["--host", "10.0.0.7"], {}, "no password is set"),
        (["--url", "https://console.example.com"], {}, "no password is set"),
        (["--host", "localhost"], {}, "is not an IP address"),
        (["--url", "http://console.example.com"], {}, "is http"),
        (["--url", "x"], {}, "is not a plain http or https URL"),
        (["--host", "0.0.0.0"], {"CONSOLE_PASSWORD": "short"}, "CONSOLE_PASSWORD is weak"),
        ([], {"CONSOLE_PASSWORD": "short"}, "CONSOLE_PASSWORD is weak"),
        ([], {"CONSOLE_IDENTITY_HEADER": "X"}, "CONSOLE_IDENTITY_JWKS is not set"),
        ([], {"TEMPORAL_ADDRESS": "x"}, "TEMPORAL_ADDRESS"),
    ],
)
def test_an_unsafe_console_is_refused(words: list[str], env: dict[str, str], said: str) -> None:
    done = command("console", *words, given=b"", **env)
    assert (done.code, said in done.err) == (Exit.USAGE, True)


def test_a_taken_port_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = command("console", "--port", str(listener.getsockname()[1]))
    assert done.code == Exit.FAILED
    assert "cannot be listened on" in done.err


@pytest.mark.system
@pytest.mark.parametrize("password", ["", PASSWORD], ids=["open", "with a password"])
def test_it_serves_its_pages_and_says_where(password: str, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    env = {**bare_environment(), "TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}", "CONSOLE_PASSWORD": password}
    with running(stagehook_command("console", "--port", str(port)), env, log):
        deadline = time.monotonic() + STARTS_WITHIN
        while "Uvicorn running" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        page = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30)
        rebound = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, headers={"host": "evil.example"})
    assert page.status_code == (303 if password else 503)
    assert rebound.status_code == 421
    assert f"console: http://127.0.0.1:{port}/" in log.read_text()
    assert ("no password is asked for" in log.read_text()) is not bool(password)
