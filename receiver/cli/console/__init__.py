"""`stagehook console`."""

from __future__ import annotations

import click

from receiver.cli.output import run_async


@click.command()
@click.option("--port", default=8088, show_default=True, type=click.IntRange(1, 65535), help="The port to listen on.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The IP address to listen on; others need CONSOLE_PASSWORD."
)
@click.option("--url", default="", help="The address in the browser, if a proxy is in front.")
@run_async
async def console(port: int, host: str, url: str) -> None:
    """Serve pages for operators until SIGTERM: what waits, runs, deliveries and partners.

    On this machine no password is asked for, unless CONSOLE_PASSWORD is set; your OS user is the actor of what you do.
    With CONSOLE_PASSWORD `stagehook serve` has the same pages at /console/.
    """
    from receiver.cli.console.serving import serve_console

    await serve_console(host, port, url)
