"""`stagehook pipeline`: start and look at runs, and decide about them as an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from receiver.cli.names import NEW_ID, PIPELINE, RUN_ID
from receiver.cli.output import json_option, run_async, yes_option
from receiver.cli.pipeline.actors import actor_option, reason_option
from receiver.cli.pipeline.bulk import bulk
from receiver.cli.pipeline.commands import OPERATOR_COMMANDS
from receiver.cli.pipeline.filters import run_filter_options

if TYPE_CHECKING:
    from datetime import datetime

    from activities.finding import RunFilter


@click.group()
def pipeline() -> None:
    """Runs of pipelines."""


for command in (*OPERATOR_COMMANDS, bulk):
    pipeline.add_command(command)


@pipeline.command()
@click.argument("name", type=PIPELINE)
@click.option("--id", "workflow_id", default="", type=NEW_ID, help="The run's workflow id; a new one by default.")
@click.option("--again", is_flag=True, help="Also if a run with this id has completed.")
@click.option("--input", "given", default="{}", metavar="JSON|@FILE|-", help="The run's input, a JSON object.")
@click.option("--for-older-workers", is_flag=True, help="Say `fail` for `escalate`, and use long tokens.")
@click.option("--wait", is_flag=True, help="Wait for the end; exits 3 if the run failed.")
@json_option
@run_async
async def start(
    name: str, workflow_id: str, given: str, *, again: bool, for_older_workers: bool, wait: bool, as_json: bool
) -> int:
    """Start a run of the pipeline NAME.

    An --id whose run has failed or was cancelled can be used again; one whose run has completed only with --again.
    """
    from receiver.cli.pipeline.starting import StartOptions, start_run

    kind = StartOptions(again=again, for_older_workers=for_older_workers)
    return await start_run(name, workflow_id, given, kind, wait=wait, as_json=as_json)


@pipeline.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@run_filter_options
@json_option
@run_async
async def list_runs(limit: int, where: RunFilter, failed: tuple[str, datetime] | None, *, as_json: bool) -> None:
    """List the latest runs, and for each open one its stage, its partner, since when it waits, and until when.

    With a filter for what runs wait for, such as --waiting or --partner, the most urgent come first instead: those that
    need a person, then by deadline.

    `--needs-person` finds the runs that wait for an operator. `--state calling` and `--state waiting` find the same
    runs: those that wait for a partner. Progress puts a deadline off. A stage stays overdue only while no worker runs.

    All filters but --status, --since and --failed-with need search attributes, which `stagehook setup` registers, and
    find runs that were started since. --failed-with reads the latest 500 failures.
    """
    from receiver.cli.pipeline.listing import print_failed, print_runs

    if failed:
        await print_failed(*failed, limit=limit, as_json=as_json)
    else:
        await print_runs(limit, where, as_json=as_json)


@pipeline.command()
@run_filter_options
@json_option
@run_async
async def count(where: RunFilter, failed: tuple[str, datetime] | None, *, as_json: bool) -> None:
    """Count runs by their status, and those that wait also by partner.

    The filters are those of `stagehook pipeline list`. A run that waits for two partners counts for both.
    """
    from receiver.cli.pipeline.listing import print_count

    await print_count(where, failed, as_json=as_json)


@pipeline.command()
@click.argument("workflow_id", metavar="ID", type=RUN_ID)
@json_option
@run_async
async def show(workflow_id: str, *, as_json: bool) -> None:
    """Show the run ID: a table of its stages, and each stage's story with its outcome's data and what else came."""
    from receiver.cli.pipeline.showing import show_run

    await show_run(workflow_id, as_json=as_json)


@pipeline.command()
@click.argument("workflow_id", metavar="ID", type=RUN_ID)
@click.option("--wait", is_flag=True, help="Wait for the run's end.")
@json_option
@run_async
async def result(workflow_id: str, *, wait: bool, as_json: bool) -> None:
    """Print the result of the run ID: each stage's outcome with its data.

    Exits 3 if the run did not complete, and 1 if it is still running.
    """
    from receiver.cli.pipeline.results import print_result

    await print_result(workflow_id, wait=wait, as_json=as_json)


@pipeline.command()
@click.argument("workflow_id", metavar="ID", type=RUN_ID)
@json_option
@run_async
async def watch(workflow_id: str, *, as_json: bool) -> int:
    """Follow the run ID until it ends; exits 3 if it failed. With --json, a line for every change.

    In JSON, "progress" is null while the run does not report its stages.
    """
    from receiver.cli.pipeline.following import follow_run

    return await follow_run(workflow_id, as_json=as_json)


@pipeline.command()
@click.argument("workflow_id", metavar="ID", type=RUN_ID)
@click.argument("stage", type=int)
@click.option("--yes", is_flag=True, help="Do not ask, even if several stages wait.")
@reason_option
@actor_option
@run_async
async def advance(workflow_id: str, stage: int, reason: str, actor: str, *, yes: bool) -> None:
    """End every wait of the run ID up to stage number STAGE, by hand.

    Partners of later stages up to STAGE are still called, but not waited for. Says which open waits this ends, and
    asks first if there are several.
    """
    from receiver.cli.pipeline.advancing import NO_REASON, advance_run
    from workflows.contract import SignalSender

    await advance_run(workflow_id, stage, SignalSender(actor, reason or NO_REASON), yes=yes)


@pipeline.command()
@click.argument("workflow_id", metavar="RUN", type=RUN_ID)
@click.argument("stage", type=click.IntRange(1), required=False)
@click.option("--reason", default="", help="Why, for the run's history.")
@actor_option
@run_async
async def resume(workflow_id: str, stage: int | None, reason: str, actor: str) -> None:
    """Go on with RUN, which has failed or was cancelled, from before the call of stage number STAGE.

    Without STAGE, from the stage that failed. The stage's partner is called again with a new URL; URLs that were issued
    before still settle the run's stages. Callbacks that came since are applied again, operators' commands are not.
    """
    from receiver.cli.pipeline.resuming import resume_run

    await resume_run(workflow_id, stage, reason, actor)


@pipeline.command()
@click.argument("workflow_id", metavar="ID", type=RUN_ID)
@reason_option
@actor_option
@yes_option
@run_async
async def cancel(workflow_id: str, reason: str, actor: str, *, yes: bool) -> None:
    """Cancel the run ID. Asks first."""
    from receiver.cli.pipeline.cancelling import cancel_run

    await cancel_run(workflow_id, reason, actor, yes=yes)


@pipeline.command()
@click.argument("workflow_id", metavar="RUN", type=RUN_ID)
@click.argument("stage", type=int)
@click.argument("reference", metavar="REF")
@run_async
async def reference(workflow_id: str, stage: int, reference: str) -> None:
    """Record REF as the partner's own id of the work for the latest call of RUN's open stage number STAGE.

    For a partner whose callbacks hold only its own id (kind three), if the answer to the call could not be read. Look
    the id up at the partner. Callbacks that came early, and wait as `unmatched`, are then for this stage as well.

    Needs DATABASE_URL, the store of the receiver.
    """
    from receiver.cli.pipeline.referring import record_reference

    await record_reference(workflow_id, stage, reference)
