"""The pipelines that can be started by name. Add your pipeline here: a definition is plain data."""

from __future__ import annotations

from typing import Final

from workflows.contract import Pipeline, Stage
from workflows.durations import DAY, HOUR

ONBOARDING: Final = Pipeline(
    name="onboarding",
    description="Open a customer's account: who they are, where their money is, their signature, their card.",
    stages=[
        Stage(
            number=1,
            name="identity-check",
            partner="identity",
            timeout=2 * DAY,
            on_timeout="escalate",
            on_failure="escalate",
            needs={"full_name": "input.full_name", "date_of_birth": "input.date_of_birth"},
        ),
        Stage(
            number=2,
            name="account-check",
            partner="bank",
            timeout=6 * HOUR,
            on_timeout="escalate",
            on_failure="escalate",
            needs={"iban": "input.iban", "holder": "identity-check.legal_name"},
        ),
        Stage(
            number=3,
            name="contract",
            partner="esign",
            timeout=3 * DAY,
            on_timeout="retry",
            attempts=3,
            on_failure="escalate",
            needs={"signer": "identity-check.legal_name", "check": "identity-check.check_id"},
        ),
        Stage(
            number=4,
            name="card",
            partner="cards",
            timeout=1 * DAY,
            on_timeout="escalate",
            on_failure="escalate",
            needs={"holder": "identity-check.legal_name", "contract": "contract.document_id"},
        ),
    ],
)

PIPELINES: Final = {pipeline.name: pipeline for pipeline in (ONBOARDING,)}
"""All definitions by name. Each run has its own copy, so an edit here changes only new runs."""
