"""`stagehook pipeline extend`, `call-again`, `succeed`, `skip` and `fail`: operators' commands for an open stage."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from receiver.cli.durations import read_duration
from receiver.cli.names import NEW_ID, RUN_ID
from receiver.cli.output import confirm_first, read_json_object, run_async, yes_option
from receiver.cli.pipeline.actors import actor_option

if TYPE_CHECKING:
    from workflows.contract import Action

F = TypeVar("F", bound=Callable[..., Any])

PARAMETERS: Final = (
    click.argument("workflow_id", metavar="RUN", type=RUN_ID),
    click.argument("stage", type=click.IntRange(1)),
    click.option("--reason", required=True, help="Why, for the stage's ledger."),
    actor_option,
    click.option(
        "--id", "command_id", default="", type=NEW_ID, help="The command's id, which acts once; a new one by default."
    ),
)
"""What every command takes, in this order; DURATION follows STAGE."""


def _parameters(function: F) -> F:
    for parameter in reversed(PARAMETERS):
        function = parameter(function)
    return function


@click.command()
@_parameters
@click.argument("duration", metavar="DURATION")
def extend(duration: str, **given: Any) -> None:
    """Put off the deadline of RUN's stage number STAGE by DURATION, such as 90s, 2h or 3d.

    The stage must wait for its partner or for a person. The callback URL of its call limits how far the deadline can
    be put off; call-again makes a new one.
    """
    _operate("extend", seconds=read_duration(duration), **given)


@click.command("call-again")
@_parameters
def call_again(**given: Any) -> None:
    """Call the partner of RUN's stage number STAGE again now, with a new callback URL.

    A late success at an earlier URL still settles the stage.
    """
    _operate("call-again", **given)


@click.command()
@_parameters
@click.option("--data", default="{}", metavar="JSON|@FILE|-", help="The outcome's data, a JSON object.")
def succeed(data: str, **given: Any) -> None:
    """Settle RUN's stage number STAGE as succeeded, with the data that later stages need."""
    _operate("succeed", data=read_json_object("--data", data), **given)


@click.command()
@_parameters
def skip(**given: Any) -> None:
    """Settle RUN's stage number STAGE as skipped: the run goes on without its data.

    A later stage that needs a field of this stage ends the run: use `succeed --data` for that.
    """
    _operate("skip", **given)


@click.command()
@_parameters
@yes_option
def fail(*, yes: bool, **given: Any) -> None:
    """Settle RUN's stage number STAGE as failed, which ends the run. Asks first.

    `stagehook pipeline resume` goes on with it.
    """
    if not yes:
        confirm_first(f"settle stage {given['stage']} of {given['workflow_id']} as failed, which ends the run")
    _operate("fail", **given)


OPERATOR_COMMANDS: Final = (extend, call_again, succeed, skip, fail)


@run_async
async def _operate(
    action: Action,
    *,
    workflow_id: str,
    stage: int,
    reason: str,
    actor: str,
    command_id: str,
    seconds: float = 0.0,
    data: dict[str, Any] | None = None,
) -> None:
    from receiver.cli.pipeline.operating import operate_stage
    from workflows.contract import Command

    id_ = command_id or str(uuid.uuid4())
    command = Command(id_, action, stage, actor, reason, seconds=seconds, data=data or {})
    await operate_stage(workflow_id, command, repeated=bool(command_id))
