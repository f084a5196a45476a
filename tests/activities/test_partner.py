"""A partner's signature from the environment: every fault is reported, none becomes an unsigned partner."""

from __future__ import annotations

import pytest

from activities.environment import Environment, SettingsError
from activities.partners.partner import signature
from activities.signatures import SignedRequest


def test_secrets_are_listed_newest_first() -> None:
    environment = Environment({"SECRET": "new, old"})
    scheme = signature("github", environment, "SECRET", fix="from the dashboard")
    assert scheme is not None
    old = signature("github", Environment({"SECRET": "old"}), "SECRET", fix="")
    assert old is not None
    headers = old.sign(b"{}", url="https://x", now=0, delivery_id="")
    assert scheme.verify(SignedRequest("POST", "https://x", headers, b"{}"), 0).key_index == 1


@pytest.mark.parametrize("variables", [{}, {"SECRET": ""}, {"SECRET": "whsec_AA=="}, {"SECRET": "!"}])
def test_a_missing_or_unusable_secret_is_a_fault(variables: dict[str, str]) -> None:
    environment = Environment(variables)
    assert signature("standard-webhooks", environment, "SECRET", fix="from the dashboard") is None
    with pytest.raises(SettingsError, match=r"SECRET .*from the dashboard"):
        environment.check()
