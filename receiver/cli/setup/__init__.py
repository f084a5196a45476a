"""`stagehook setup`: prepare Temporal's namespace."""

from __future__ import annotations

import click

from receiver.cli.output import run_async


@click.command()
@run_async
async def setup() -> None:
    """Register the search attributes by which `stagehook pipeline list` finds runs. Changes nothing that is there.

    Runs that are started from then on have them, at one more billed action for each call. Run it when every worker is
    of this version: an earlier version cannot continue a run that has them.
    """
    from receiver.cli.setup.attributes import register

    await register()
