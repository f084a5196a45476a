"""A stage's name and state in words."""

from __future__ import annotations

from workflows.contract import StageProgress


def state_text(stage: StageProgress) -> str:
    """Return the state, such as `waiting` or `succeeded (callback)`."""
    return f"{stage.outcome} ({stage.cause})" if stage.outcome else stage.state.replace("_", " ")


def stage_name(stage: StageProgress) -> str:
    """Return the stage's number and name, such as `2 account-check`."""
    return f"{stage.number} {stage.name}".rstrip()
