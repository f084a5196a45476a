"""The defects of `broken` as the receiver meets them; whether the checks notice each is tested in `test_controls`."""

from __future__ import annotations

import pytest

from receiver.deliveries import queries
from tests.chaos.broken import claim_without_lease, no_order_within_a_stage


def test_a_defect_of_claims_is_in_every_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("CLAIM", "CLAIM_NEWEST")
    for defect, sound in ((claim_without_lease, "due_at = :until"), (no_order_within_a_stage, "NOT EXISTS")):
        with monkeypatch.context() as patches:
            for name in names:
                patches.setattr(queries, name, getattr(queries, name))
            defect()
            assert not any(sound in getattr(queries, name) for name in names)
