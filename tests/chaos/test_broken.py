"""The defects of `broken` as the receiver meets them; whether the checks notice each is tested in `test_controls`."""

from __future__ import annotations

import pytest

from receiver.deliveries import queries
from tests.chaos.broken import claim_without_lease, no_order_within_a_stage


def test_a_defect_of_claims_is_in_every_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several stages; and without a lease, in that of a stage's next delivery too."""
    several, every = ("CLAIM", "CLAIM_NEWEST"), ("CLAIM", "CLAIM_NEWEST", "CLAIM_NEXT")
    defects = ((claim_without_lease, "due_at = :until", every), (no_order_within_a_stage, "NOT EXISTS", several))
    for defect, sound, names in defects:
        with monkeypatch.context() as patches:
            for name in every:
                patches.setattr(queries, name, getattr(queries, name))
            assert all(sound in getattr(queries, name) for name in names)
            defect()
            assert not any(sound in getattr(queries, name) for name in names)
