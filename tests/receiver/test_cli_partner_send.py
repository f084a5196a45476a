"""`stagehook partner send` to a partner's one webhook URL, and with any body."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import respx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from activities.callback_urls import CallbackURLs, Claims
from activities.environment import Environment
from activities.partners import PARTNERS, sandbox
from activities.signatures import SCHEMES
from tests.commands import command, run_alone
from tests.local_stack import Local
from tests.parts.callbacks import CLAIMS
from tests.parts.endings import refused, said
from tests.parts.onboarding_runs import start_run
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


@pytest.mark.system
def test_partner_send_uses_the_partners_form_and_signature(local: Local) -> None:
    start_run(local, "by-hand")
    url = said(local.command("token", "issue", "by-hand", "2", "--json"))["url"]
    send = ("partner", "send", url, "--data", '{"account_id": "a"}')
    assert local.command(*send, "--no-sign").stdout.decode().startswith("401 ")
    without = local.command(*send, BANK_SECRET="")
    assert without.stdout.decode().startswith("401 ")
    assert "bank's callbacks are not signed: BANK_SECRET is not set" in without.stderr.decode()
    assert local.command(*send, CALLBACK_KEYS=KEY).stdout.decode().startswith("401 ")
    assert local.command(*send, "--status", "progress").stdout.decode().startswith("202 ")
    assert local.command(*send).stdout.decode().startswith("202 ")
    assert local.command("pipeline", "watch", "by-hand").returncode == 0


def test_a_partner_of_no_known_form_is_sent_a_whole_body(monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    monkeypatch.setitem(PARTNERS, "acme", PARTNERS["bank"])
    url = CallbackURLs(f"http://127.0.0.1:{unused_port}", [KEY]).issue(Claims("run", "chain", 1, 1, "acme", 1, 2**32))
    done = command("partner", "send", url, CALLBACK_KEYS=KEY)
    assert (done.code, "no form is known for callbacks of acme" in done.err) == (2, True)
    assert "--body" in done.err


def list_acme(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> tuple[str, ...]:
    """Add a partner `acme` with these parts; return the command that sends a callback of it."""
    monkeypatch.setitem(PARTNERS, "acme", lambda env: replace(sandbox.partner("acme", env), **parts))
    url = CallbackURLs("http://hooks.test", [KEY]).issue(replace(CLAIMS, partner="acme"))
    return ("partner", "send", url, "--body", "{}")


@respx.mock
def test_what_is_sent_by_hand_is_of_the_partners_media_type(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = respx.post(url__startswith="http://hooks.test/").respond(202)
    send = list_acme(monkeypatch, content_type="application/vnd.acme+json")
    for more in ((), ("--no-sign",)):
        assert command(*send, *more, CALLBACK_KEYS=KEY).code == 0
    types = [call.request.headers["content-type"] for call in taken.calls]
    assert types == ["application/vnd.acme+json"] * 2


@respx.mock
def test_what_only_the_partner_can_sign_is_sent_unsigned_only(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = respx.post(url__startswith="http://hooks.test/").respond(202)
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    send = list_acme(monkeypatch, signature=SCHEMES["discord"](secrets=[public]))
    done = command(*send, CALLBACK_KEYS=KEY)
    assert (done.code, taken.called) == (1, False)
    assert "acme cannot be signed" in done.err
    assert "private key" in done.err
    assert "--no-sign" in done.err
    assert command(*send, "--no-sign", CALLBACK_KEYS=KEY).code == 0


def test_sending_to_nobody_says_so(unused_port: int) -> None:
    done = run_alone("partner", "send", f"http://127.0.0.1:{unused_port}/callbacks/x")
    assert "nothing answers" in refused(done, 1)


def test_an_answer_that_is_no_2xx_exits_1(local: Local) -> None:
    done = local.command("partner", "send", f"{local.stack.public_url}/callbacks/forged")
    assert done.returncode == 1
    assert done.stdout.decode().startswith("404 ")
