"""`stagehook token inspect`, and keys: generated, weak, rotated."""

from __future__ import annotations

import json
from dataclasses import replace

from activities.callback_urls import CallbackURLs, Claims, fingerprint
from tests.commands import run_alone
from tests.parts.endings import refused, said
from tests.support import KEY

CLAIMS = Claims("run", "chain", 2, 1, "bank", 1_790_000_000, 4_000_000_000)


def test_a_token_is_inspected_bare_or_in_its_url() -> None:
    url = CallbackURLs("https://hooks.test", [KEY]).issue(CLAIMS)
    for form in (url, url.rpartition("/")[2]):
        shown = said(run_alone("token", "inspect", form, "--json", CALLBACK_KEYS=KEY))
        assert (shown["workflow_id"], shown["stage"], shown["partner"]) == ("run", 2, "bank")
        assert shown["idempotency_key"] == CLAIMS.idempotency_key
    assert "bank" in run_alone("token", "inspect", url, CALLBACK_KEYS=KEY).stdout.decode()


def test_a_bad_token_exits_5() -> None:
    url = CallbackURLs("https://hooks.test", [KEY]).issue(CLAIMS)
    for text in (url[:-1], "x", "https://hooks.test/callbacks/"):
        refused(run_alone("token", "inspect", text, CALLBACK_KEYS=KEY), 5)


def test_an_expired_token_exits_6_and_is_shown_all_the_same() -> None:
    url = CallbackURLs("https://hooks.test", [KEY]).issue(replace(CLAIMS, expires_at=1_790_000_001))
    done = run_alone("token", "inspect", url, "--json", CALLBACK_KEYS=KEY)
    assert done.returncode == 6
    assert json.loads(done.stdout)["workflow_id"] == "run"


def test_a_weak_key_is_refused_before_it_is_used() -> None:
    assert "CALLBACK_KEYS" in refused(run_alone("token", "inspect", "x", CALLBACK_KEYS="short"), 2)


def test_a_generated_key_is_one_that_settings_take() -> None:
    new = run_alone("key", "generate").stdout.decode().strip()
    listed = said(run_alone("key", "list", "--json", CALLBACK_KEYS=f"{new},{KEY}"))
    assert listed == [
        {"place": 1, "fingerprint": fingerprint(new), "signs": True},
        {"place": 2, "fingerprint": fingerprint(KEY), "signs": False},
    ]


def test_keys_rotate_in_two_phases() -> None:
    shown = run_alone("key", "rotate", CALLBACK_KEYS=KEY)
    first, second = shown.stdout.decode().splitlines()
    assert first.startswith(f"{KEY},")
    assert second == f"{first.removeprefix(f'{KEY},')},{KEY}"
    assert "phase 1" in shown.stderr.decode()
    assert "phase 2" in shown.stderr.decode()
