"""`stagehook serve`."""

from __future__ import annotations

import os

import click

from receiver import server
from receiver.settings import WebSettings


@click.command()
def serve() -> None:
    """Run the receiver (the web process) until SIGTERM."""
    server.serve(WebSettings.from_env(os.environ))
