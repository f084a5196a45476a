"""`stagehook partner send` to a partner's one webhook URL, and with any body."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import respx

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.partners import PARTNERS, sandbox
from activities.signatures import SCHEMES
from tests.commands import command
from tests.parts.callbacks import CLAIMS
from tests.support import KEY
from workflows.contract import Answer


def list_samples(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> str:
    """List a partner `acme` with one webhook URL; return the callback URL of one of its stages."""
    signature = SCHEMES["github"](secrets=["secret"])
    made = replace(sandbox.partner("acme", Environment({})), signature=signature, **parts)
    monkeypatch.setitem(PARTNERS, "acme", lambda env: made)
    return CallbackURLs("http://hooks.test", [KEY]).issue(replace(CLAIMS, partner="acme"))


def sample_event(answer: Answer, named_by: str) -> bytes:
    return f"{answer.status} {answer.data} {named_by}".encode()


@respx.mock
def test_kind_two_is_sent_the_callback_url_at_the_one_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = respx.post("http://hooks.test/partners/acme").respond(202)
    url = list_samples(monkeypatch, stage_by="token", sample_event=sample_event)
    assert command("partner", "send", url, "--data", '{"a": 1}', CALLBACK_KEYS=KEY).code == 0
    request = taken.calls.last.request
    assert request.content == f"succeeded {{'a': 1}} {url}".encode()
    assert "x-hub-signature-256" in request.headers


@respx.mock
@pytest.mark.parametrize("at_one_url", [True, False])
def test_kind_three_is_sent_its_id_at_the_one_url(monkeypatch: pytest.MonkeyPatch, *, at_one_url: bool) -> None:
    taken = respx.post("http://hooks.test/partners/acme").respond(202)
    url = list_samples(monkeypatch, stage_by="reference", sample_event=sample_event)
    given = "http://hooks.test/partners/acme" if at_one_url else url
    sent = command("partner", "send", given, "--status", "failed", "--reference", "w-1", CALLBACK_KEYS=KEY)
    assert (sent.code, taken.calls.last.request.content) == (0, b"failed {} w-1")


@pytest.mark.parametrize(("stage_by", "says"), [("token", "stagehook token issue"), ("reference", "give --reference")])
def test_at_one_url_it_must_be_said_which_stage_is_answered(
    monkeypatch: pytest.MonkeyPatch, stage_by: str, says: str
) -> None:
    list_samples(monkeypatch, stage_by=stage_by, sample_event=sample_event)
    sent = command("partner", "send", "http://hooks.test/partners/acme")
    assert (sent.code, says in sent.err) == (2, True)


def test_a_broken_sample_event_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(answer: Answer, named_by: str) -> bytes:
        raise KeyError("a")

    wrong: dict[str, Any] = {"raised KeyError": raising, "returned str": lambda answer, named_by: "text"}
    for says, broken in wrong.items():
        url = list_samples(monkeypatch, stage_by="token", sample_event=broken)
        sent = command("partner", "send", url, CALLBACK_KEYS=KEY)
        assert (sent.code, f"sample_event of acme {says}" in sent.err) == (1, True)


@respx.mock
def test_any_body_is_sent_byte_for_byte_with_any_content_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken = respx.post("http://hooks.test/partners/acme").respond(202)
    list_samples(monkeypatch, stage_by="reference")
    body, file = b"\xff\x00<a/>\r\n", tmp_path / "body"
    file.write_bytes(body)
    for given, stdin in ((f"@{file}", b""), ("-", body)):
        words = ("--body", given, "--content-type", "text/xml; charset=utf-8")
        assert command("partner", "send", "http://hooks.test/partners/acme", *words, given=stdin).code == 0
        request = taken.calls.last.request
        assert (request.content, request.headers["content-type"]) == (body, "text/xml; charset=utf-8")
