"""The pipelines that can be started by name. Add your pipeline here: a definition is plain data."""

from __future__ import annotations

from typing import Final

from workflows.contract import PIPELINE_WORKFLOW, Pipeline, Stage
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

REVIEWED_ONBOARDING: Final = Pipeline(
    name="reviewed-onboarding",
    description="Open a customer's account; where the identity check is declined, a person at the partner reviews it.",
    stages=[
        Stage(
            number=1,
            name="identity-check",
            partner="identity",
            timeout=2 * DAY,
            needs={"full_name": "input.full_name", "date_of_birth": "input.date_of_birth"},
        ),
        Stage(
            number=2,
            name="manual-review",
            partner="identity",
            timeout=10 * DAY,
            on_timeout="escalate",
            needs={"full_name": "input.full_name"},
        ),
        Stage(
            number=3,
            name="card",
            partner="cards",
            timeout=1 * DAY,
            on_timeout="escalate",
            on_failure="escalate",
            needs={"holder": "input.full_name"},
        ),
    ],
)

PIPELINES: Final = {pipeline.name: pipeline for pipeline in (ONBOARDING, REVIEWED_ONBOARDING)}
"""All definitions by name. Each run has its own copy, so an edit here changes only new runs."""

WORKFLOW_TYPES: Final = dict.fromkeys(PIPELINES, PIPELINE_WORKFLOW) | {
    REVIEWED_ONBOARDING.name: "ReviewedOnboarding",
}
"""The workflow type that runs each pipeline: `PipelineWorkflow` runs the stages in order, other types have an `if`."""

PIPELINE_TYPES: Final = frozenset({PIPELINE_WORKFLOW, *WORKFLOW_TYPES.values()})
"""The workflow types that take a `PipelineRun`."""
