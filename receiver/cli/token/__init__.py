"""`stagehook token`."""

from __future__ import annotations

import click

from receiver.cli.names import RUN_ID
from receiver.cli.output import json_option, read_argument, run_async


@click.group()
def token() -> None:
    """Callback tokens."""


@token.command()
@click.argument("token_or_url", metavar="TOKEN_OR_URL|-")
@json_option
def inspect(token_or_url: str, *, as_json: bool) -> None:
    """Say what a callback token or URL was issued for. Needs CALLBACK_KEYS.

    The token can answer the stage: treat it as a password. Pipe it in, with - as the argument: other users of this
    machine see a command's arguments in the list of processes.
    """
    from receiver.cli.token.tokens import inspect_token

    inspect_token(read_argument(token_or_url, "token"), as_json=as_json)


@token.command()
@click.argument("workflow_id", metavar="ID", type=RUN_ID)
@click.argument("stage", type=int)
@json_option
@run_async
async def issue(workflow_id: str, stage: int, *, as_json: bool) -> None:
    """Print the callback URL of the run ID's open stage number STAGE. Needs PUBLIC_URL and CALLBACK_KEYS.

    For a partner that has lost its URL, and for answering by hand with `stagehook partner send`.
    """
    from receiver.cli.token.tokens import issue_url

    await issue_url(workflow_id, stage, as_json=as_json)
