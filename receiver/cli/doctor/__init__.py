"""`stagehook doctor`: is everything in place for callbacks to arrive?"""

from __future__ import annotations

import click

from receiver.cli.output import json_option, run_async


@click.command()
@json_option
@run_async
async def doctor(*, as_json: bool) -> int:
    """Check settings, Temporal, store, keys, partners, PUBLIC_URL and clock. Prints a line for each, with a fix.

    Exits 1 if any check fails.
    """
    from receiver.cli.doctor.checks import print_findings

    return await print_findings(as_json=as_json)
