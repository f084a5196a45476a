"""`stagehook signature`: say why a body signature does not match, or sign a body."""

from __future__ import annotations

from typing import Any

import click

from activities.signatures.scheme import DEFAULT_TOLERANCE
from receiver.cli.output import json_option
from receiver.cli.signature.options import scheme_options

file_argument = click.argument("file", default="-")
url_option = click.option("--url", default="", help="The public URL that the partner was given.")
at_option = click.option("--at", metavar="TIME", help="The clock: unix seconds, or a date and time. [default: now]")

tolerance_option = click.option(
    "--tolerance", default=DEFAULT_TOLERANCE, show_default=True, type=click.IntRange(0), help="Seconds off the clock."
)


@click.group()
def signature() -> None:
    """Verify or make the body signatures of partners."""


@signature.command()
@scheme_options
@click.option("--header", "headers", multiple=True, metavar="'Name: value'|@FILE", help="FILE is just a body; repeat.")
@url_option
@at_option
@tolerance_option
@file_argument
@json_option
def verify(
    headers: tuple[str, ...], url: str, at: str | None, tolerance: int, file: str, *, as_json: bool, **given: Any
) -> int:
    """Say whether the request in FILE is signed. If not, say at which step it fails: header, time, key or bytes.

    FILE (default: stdin) is a raw HTTP request, a recorded delivery as JSON (which keeps no Authorization header), or,
    with --header, a body. The clock is --at, else the time at which a recorded delivery was received, else now. The
    URL, which some schemes sign, is --url, else PUBLIC_URL and the request's target.

    Exits 1 if the request is not verified. Prints no secret and no valid signature.
    """
    from receiver.cli.signature.verifying import verify_file

    return verify_file(given, headers, url, at, tolerance, file, as_json=as_json)


@signature.command()
@scheme_options
@click.option("--private-key-env", metavar="VAR", help="The private key to a public key, from a variable.")
@click.option("--private-key-file", metavar="FILE", help="The private key to a public key, from a file.")
@url_option
@at_option
@click.option("--id", "delivery_id", help="The delivery's id, for schemes that sign one. [default: a new one]")
@click.option("--request", "whole", is_flag=True, help="Print the whole request as JSON, as verify reads it.")
@file_argument
@json_option
def sign(
    private_key_env: str | None,
    private_key_file: str | None,
    url: str,
    at: str | None,
    delivery_id: str | None,
    file: str,
    *,
    whole: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Print the headers that sign the body in FILE (default: stdin). Each is on its own line, as curl reads them.

    \b
    stagehook signature sign --scheme github --secret-env SECRET body.json |
      curl --header @- --header 'Content-Type: application/json' \\
        --data-binary @body.json URL
    """
    from receiver.cli.signature.setup import read_private_key
    from receiver.cli.signature.signing import sign_file

    private_key = read_private_key(private_key_env, private_key_file)
    sign_file(given, private_key, url, at, delivery_id, file, whole=whole, as_json=as_json)


@signature.command()
@scheme_options
@tolerance_option
@json_option
def explain(tolerance: int, *, as_json: bool, **given: Any) -> None:
    """Say what a scheme with these options reads and signs, and what it does not prove."""
    from receiver.cli.signature.explaining import explain_scheme

    explain_scheme(given, tolerance, as_json=as_json)
