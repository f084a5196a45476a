"""The receiver on other addresses: IPv6, a port that is taken there, and doctor beside it."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from receiver.cli.demo.processes import bare_environment, free_port
from receiver.cli.demo.stack import sample_partners, stagehook_command
from receiver.lifecycle import PortTaken, check_port
from tests.local_stack import eventually, running
from tests.support import KEY


def test_a_port_that_is_taken_on_ipv6_is_noticed() -> None:
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        for host in ("::1", "::"):
            with pytest.raises(PortTaken, match=f"port {port} cannot be listened on at {host}: "):
                check_port(host, port)


@pytest.mark.fault
@pytest.mark.parametrize("processes", ["1", "2"])
def test_host_of_ipv6_takes_ipv4_too(tmp_path: Path, processes: str) -> None:
    port = free_port()
    (tmp_path / "temporal.toml").touch()
    env = {
        **bare_environment(),
        "TEMPORAL_CONFIG_FILE": str(tmp_path / "temporal.toml"),
        "TEMPORAL_ADDRESS": "[::1]:9",
        "PUBLIC_URL": f"http://[::1]:{port}",
        "HOST": "::",
        "PORT": str(port),
        "WEB_CONCURRENCY": processes,
        "CALLBACK_KEYS": KEY,
        "PARTNERS": "identity",
        **sample_partners("http://[::1]:9"),
    }

    def answers(host: str) -> bool:
        try:
            return httpx.get(f"http://{host}:{port}/healthz", trust_env=False, timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    with running(stagehook_command("serve"), env, tmp_path / "web.log") as serving:
        eventually(lambda: answers("[::1]"))
        assert answers("127.0.0.1")
        serving.terminate()
        assert serving.wait(30) == 0
