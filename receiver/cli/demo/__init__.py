"""`stagehook demo`: run a pipeline from start to end, on real processes, with the faults that partners show."""

from __future__ import annotations

import click

from receiver.cli.output import run_async


@click.command()
@click.option("--keep", is_flag=True, help="Stay up afterwards, with links, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
@run_async
async def demo(*, keep: bool, as_json: bool) -> None:
    """Run a pipeline from start to end on this machine.

    Starts Temporal's dev server, the receiver, the worker and the sandbox partner on free loopback ports. Provokes a
    duplicate, a forged token, a wrong body signature, a callback before the call's answer, and a callback that never
    comes.
    """
    from receiver.cli.demo.running import run_demo

    await run_demo(keep=keep, as_json=as_json)
