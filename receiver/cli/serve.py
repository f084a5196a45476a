"""`stagehook serve`."""

from __future__ import annotations

import os

import click


@click.command()
def serve() -> None:
    """Run the receiver (the web process) until SIGTERM."""
    from receiver import server
    from receiver.settings import WebSettings

    server.serve(WebSettings.from_env(os.environ))
