"""`stagehook serve`."""

from __future__ import annotations

import os

import click

from activities.settings import Settings
from receiver import server


@click.command()
def serve() -> None:
    """Run the receiver (the web process) until SIGTERM."""
    server.serve(Settings.from_env(os.environ))
