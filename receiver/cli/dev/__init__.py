"""`stagehook dev`: Temporal, the receiver, the worker and the sandbox partner in one terminal."""

from __future__ import annotations

from pathlib import Path

import click

from receiver.cli.output import run_async


@click.command()
@click.option(
    "--env",
    "file",
    default=".env",
    show_default=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The settings, made with random keys if the file is missing.",
)
@click.option(
    "--data",
    default=".dev",
    show_default=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where Temporal's dev server keeps its runs.",
)
@click.option("--only-env", is_flag=True, help="Make the settings file if it is missing, and start nothing.")
@run_async
async def dev(*, file: Path, data: Path, only_env: bool) -> None:
    """Run Temporal, web, worker and the sandbox partner until Ctrl-C. Shows what each of them prints.

    All of them listen on this machine only: web on PORT, the sandbox on the port of SANDBOX_URL, Temporal at
    TEMPORAL_ADDRESS. PUBLIC_URL may be the https address of a tunnel to PORT, and PARTNERS may name real partners
    beside the sample partners. Variables of the environment replace those of the settings file.
    """
    from receiver.cli.dev.running import run_dev
    from receiver.cli.dev.settings_file import make_settings_file

    make_settings_file(file)
    if not only_env:
        await run_dev(file, data)
