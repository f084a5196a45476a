"""`stagehook delivery`: look at the deliveries that reached the receiver, release them, and replay them."""

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
    """Deliveries: the requests that reached the receiver. Needs DATABASE_URL, except for files."""


delivery.add_command(replay)


@delivery.command(name="list")
@filter_options()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
@json_option
def list_(filters: Filters, limit: int, *, as_json: bool) -> None:
    """List deliveries in the order of receipt, latest last."""
    from receiver.cli.delivery.listing import print_latest

    print_latest(filters, limit=limit, as_json=as_json)


@delivery.command()
@click.argument("id_", metavar="ID")
@click.option("--body", is_flag=True, help="Print the body, byte for byte.")
@click.option("--curl", is_flag=True, help="Print a shell line that sends it again; it holds a callback token.")
@json_option
def show(id_: str, *, body: bool, curl: bool, as_json: bool) -> None:
    """Show a delivery. The beginning of its ID is enough."""
    from receiver.cli.delivery.showing import show_delivery

    show_delivery(id_, body=body, curl=curl, as_json=as_json)


@delivery.command()
@filter_options()
@json_option
def tail(filters: Filters, *, as_json: bool) -> None:
    """Print deliveries as they come in, until Ctrl-C. With --since, first print the stored ones since then.

    If a delivery does not match the filters yet, it is printed later, as soon as it has the requested verdict,
    pipeline or fate.
    """
    from receiver.cli.delivery.listing import print_as_they_come

    print_as_they_come(filters, as_json=as_json)


@delivery.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options()
@click.option("--full", is_flag=True, help="As recorded: with known secrets, callback tokens and addresses.")
def export(ids: tuple[str, ...], filters: Filters, *, full: bool) -> None:
    """Print deliveries as JSON Lines in the order of receipt. Bodies are in base64.

    Known secrets, callback tokens and the addresses that requests came from are left out. A body that hides any of them
    in base64 is left out as a whole. Other bodies stay, and may hold customers' data.
    """
    from receiver.cli.delivery.files import print_export

    print_export(ids, filters, full=full)


@delivery.command(name="import")
@click.argument("file", metavar="FILE|-")
@json_option
def import_(file: str, *, as_json: bool) -> None:
    """Add exported deliveries to the store, to look at and replay. They are never forwarded by themselves."""
    from receiver.cli.delivery.files import import_file

    import_file(file, as_json=as_json)


@delivery.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options()
def release(ids: tuple[str, ...], filters: Filters) -> int:
    """Let parked, refused or broken deliveries be sent again. Fix the cause first.

    Give their IDs, or choose them by filters, such as --fate parked or --verdict broken. A delivery that was taken is
    released only by its ID or by --fate taken: Temporal already knows it, unless its run was reset since.

    If the partner's file could not read a delivery, its kept body is read again with the file as it is now. That needs
    the partner's variables.
    """
    from receiver.cli.delivery.releasing import release_by_filters, release_named

    return release_named(ids, filters) if ids else release_by_filters(filters)


@delivery.command()
@click.argument("file", metavar="FILE|-")
@json_option
def check(file: str, *, as_json: bool) -> int:
    """Exit 1 if a file holds a known secret. It may be plain, escaped, in base64, or in a delivery's body.

    Known secrets are: the values of environment variables whose names contain KEY, SECRET, TOKEN, PASSWORD, PASSWD,
    PASSPHRASE or CREDENTIAL; the passwords in variables whose names end with URL, URI or DSN; and every callback token.
    """
    from receiver.cli.delivery.checking import check_file

    return check_file(file, as_json=as_json)
