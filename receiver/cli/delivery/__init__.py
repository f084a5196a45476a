"""`stagehook delivery`: look at what the receiver was sent, hand it on, and send it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from receiver.cli.delivery.filters import filter_options
from receiver.cli.delivery.replay import replay
from receiver.cli.output import json_option

if TYPE_CHECKING:
    from receiver.deliveries.archive import Filters


@click.group()
def delivery() -> None:
    """Deliveries: the requests that reached the receiver. Needs DATABASE_URL, but for files."""


delivery.add_command(replay)


@delivery.command(name="list")
@filter_options()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
@json_option
def list_(filters: Filters, limit: int, *, as_json: bool) -> None:
    """List deliveries in the order of receipt, the latest last."""
    from receiver.cli.delivery.listing import print_latest

    print_latest(filters, limit=limit, as_json=as_json)


@delivery.command()
@click.argument("id_", metavar="ID")
@click.option("--body", is_flag=True, help="Print the body, byte for byte.")
@click.option("--curl", is_flag=True, help="Print a shell line that sends it again; it holds a callback token.")
@json_option
def show(id_: str, *, body: bool, curl: bool, as_json: bool) -> None:
    """Show one delivery. The beginning of its ID will do."""
    from receiver.cli.delivery.showing import show_delivery

    show_delivery(id_, body=body, curl=curl, as_json=as_json)


@delivery.command()
@filter_options()
@json_option
def tail(filters: Filters, *, as_json: bool) -> None:
    """Print deliveries as they come in, until Ctrl-C; with --since first those that are there since then.

    One that a filter leaves out is printed later, once it has the verdict, pipeline or fate that is asked for.
    """
    from receiver.cli.delivery.listing import print_as_they_come

    print_as_they_come(filters, as_json=as_json)


@delivery.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options()
@click.option("--full", is_flag=True, help="As recorded: with known secrets, callback tokens and addresses.")
def export(ids: tuple[str, ...], filters: Filters, *, full: bool) -> None:
    """Print deliveries as JSON Lines, their bodies in base64, in the order of receipt.

    Known secrets, callback tokens and the addresses that requests came from are left out, and so is a body that hides
    one in base64. Other bodies stay, and may hold customers' data.
    """
    from receiver.cli.delivery.files import print_export

    print_export(ids, filters, full=full)


@delivery.command(name="import")
@click.argument("file", metavar="FILE|-")
@json_option
def import_(file: str, *, as_json: bool) -> None:
    """Add exported deliveries to the store, to be looked at and replayed. They are never forwarded by themselves."""
    from receiver.cli.delivery.files import import_file

    import_file(file, as_json=as_json)


@delivery.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options()
def release(ids: tuple[str, ...], filters: Filters) -> int:
    """Let deliveries be sent again: parked, refused or broken ones, after what stood in their way is mended.

    Name them, or choose them by filters, such as --fate parked or --verdict broken. A delivery that was taken is
    released only by its id or by --fate taken: Temporal knows it, unless its run was reset since.

    If the partner's file could not read a delivery, its kept body is read again with the file as it is now. That needs
    the variables of the partner.
    """
    from receiver.cli.delivery.releasing import release_by_filters, release_named

    return release_named(ids, filters) if ids else release_by_filters(filters)


@delivery.command()
@click.argument("file", metavar="FILE|-")
@json_option
def check(file: str, *, as_json: bool) -> int:
    """Exit 1 if a file holds a known secret: plain, escaped, in base64, or in a delivery's body.

    Known are the values of the environment's variables whose names have KEY, SECRET, TOKEN, PASSWORD, PASSWD,
    PASSPHRASE or CREDENTIAL in them, the passwords in those that end with URL, URI or DSN, and every callback token.
    """
    from receiver.cli.delivery.checking import check_file

    return check_file(file, as_json=as_json)
