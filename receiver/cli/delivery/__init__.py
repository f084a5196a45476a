"""`stagehook delivery`: look at the deliveries that reached the receiver, release them, and replay them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from receiver.cli.delivery.filters import filter_options
from receiver.cli.delivery.replay import replay
from receiver.cli.names import RUN_ID
from receiver.cli.output import json_option

if TYPE_CHECKING:
    from receiver.deliveries.filters import Filters


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
@click.option("--replay-to", default="", metavar="URL", help="Send each to this receiver too, with a new token.")
@click.option("--to-run", default="", type=RUN_ID, metavar="ID", help="With --replay-to: into this run.")
@click.option(
    "--to-store", default="", metavar="URL", help="With --replay-to: that receiver's store, for partners' ids."
)
@click.option("--allow-remote", is_flag=True, help="Let --replay-to be another machine.")
@click.option("--yes", is_flag=True, help="With --allow-remote: do not ask.")
@json_option
def tail(
    filters: Filters, replay_to: str, to_run: str, to_store: str, *, allow_remote: bool, yes: bool, as_json: bool
) -> None:
    """Print deliveries as they come in, until Ctrl-C. With --since, first print the stored ones since then.

    If a delivery does not match the filters yet, it is printed later, as soon as it has the requested verdict,
    pipeline or fate, or run and stage if it waits for its call.

    With --replay-to, each is also replayed to a receiver on this machine, as `delivery replay` does: to the captured
    run if this Temporal has it, or to a stand-in. The store of DATABASE_URL is only read. While that receiver is away,
    the deliveries wait.
    """
    if not replay_to:
        if to_run or to_store or allow_remote or yes:
            raise click.UsageError("--to-run, --to-store, --allow-remote and --yes go with --replay-to")
        from receiver.cli.delivery.listing import print_as_they_come

        print_as_they_come(filters, as_json=as_json)
        return
    import asyncio

    from receiver.cli.delivery.relaying import RelayOptions, relay_as_they_come

    asyncio.run(relay_as_they_come(RelayOptions(filters, replay_to, to_run, to_store, allow_remote, yes, as_json)))


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
