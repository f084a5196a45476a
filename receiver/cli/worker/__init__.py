"""`stagehook worker`."""

from __future__ import annotations

import click

from receiver.cli.output import run_async


@click.command()
@run_async
async def worker() -> None:
    """Run the worker until SIGTERM. Calls in flight get 20 s to finish."""
    from receiver.cli.worker.running import run_until_stopped

    await run_until_stopped()
