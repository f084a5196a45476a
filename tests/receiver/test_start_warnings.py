"""What the log warns of at the start."""

from __future__ import annotations

import logging
import secrets

import pytest

from activities.settings import Settings
from receiver.cli.demo.stack import sample_partners
from receiver.start_warnings import warn_of

TUNNEL = "https://a-tunnel.example.com"


def settings(public_url: str) -> Settings:
    local = {"DEVELOPMENT": "1", "TEMPORAL_ADDRESS": "127.0.0.1:7233", "PARTNERS": "bank"}
    keys = {"CALLBACK_KEYS": secrets.token_urlsafe(32), **sample_partners("http://127.0.0.1:8090")}
    return Settings.from_env({"PUBLIC_URL": public_url, **local, **keys})


@pytest.mark.parametrize(("public_url", "warned"), [(TUNNEL, ["development"]), ("http://127.0.0.1:8000", [])])
def test_development_is_said_where_others_can_reach_it(
    caplog: pytest.LogCaptureFixture, public_url: str, warned: list[str]
) -> None:
    """A system on one machine, with a proxy in front of it, meets every condition of `read_development`."""
    warn_of(settings(public_url), logging.getLogger("stagehook.server"))
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == warned
