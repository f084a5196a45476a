"""What the log warns of at the start."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace

import pytest

from activities.handshakes import Handshake
from activities.settings import Settings
from receiver.cli.demo.stack import sample_partners
from receiver.cli.doctor.checks import _enrolments
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


def test_an_open_enrolment_is_said(caplog: pytest.LogCaptureFixture) -> None:
    plain = settings("http://127.0.0.1:8000")
    for handshake, warned in ((Handshake("asana", "an-enrolment-word"), ["enrolment-open"]), (Handshake("slack"), [])):
        bank = replace(plain.partners["bank"], handshake=handshake)
        open_ = replace(plain, partners={"bank": bank})
        caplog.clear()
        warn_of(open_, logging.getLogger("stagehook.server"))
        assert [record.message for record in caplog.records if record.levelname == "WARNING"] == warned
        assert [finding.note for finding in _enrolments(open_)] == [True] * len(warned)
