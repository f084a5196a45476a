"""`stagehook delivery`: look at what the receiver was sent, hand it on, and send it again."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

import click

from activities.environment import Environment
from activities.partners import load_partners
from activities.partners.partner import Partner
from receiver.cli.db import need_store
from receiver.cli.delivery.check import check
from receiver.cli.delivery.curl import curl_line, unsendable
from receiver.cli.delivery.following import Following
from receiver.cli.delivery.replay import replay
from receiver.cli.delivery.selection import filter_options, read_file, refuse_both
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import counted, json_option, note, print_json, print_list, say
from receiver.cli.terminal import printable, write_bytes
from receiver.deliveries.archive import ANY, Archive, Filters, NeverForwarded, NoSuchDelivery
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.schema import is_unread
from receiver.deliveries.secrets import known_secrets, redact
from receiver.sending import releases

TAIL_SECONDS: Final = 0.5
TAIL_OPEN: Final = 10_000
"""Deliveries that are looked at again until their fate is final; of more the oldest are given up."""

UNREAD: Final = "not read to its end, {} bytes or more: it cannot be replayed"

HIDES: Final = "it hides a secret in base64, or has more layers than are looked through"
HELD: Final = {Fate.PARKED, Fate.REFUSED}
REPLAY: Final = "`stagehook delivery replay` sends it again"


@click.group()
def delivery() -> None:
    """Deliveries: the requests that reached the receiver. Needs DATABASE_URL, but for files."""


delivery.add_command(check)
delivery.add_command(replay)


@delivery.command(name="list")
@filter_options()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
@json_option
def list_(filters: Filters, limit: int, *, as_json: bool) -> None:
    """List deliveries in the order of receipt, the latest last."""
    known = Archive(need_store()).latest(filters, limit=limit + 1)
    found = known[-limit:]
    if as_json:
        print_json([summary(one) for one in found])
    elif not found:
        note("none found: leave filters out, or look whether DATABASE_URL is the receiver's")
    else:
        titles = ("id", "UTC", "answer", "partner", "run", "stage", "fate")
        print_list(titles, map(cells, found), below=("run", "partner"))
    if len(known) > limit:
        note(f"the latest {limit}: --limit shows more")


@delivery.command()
@click.argument("id_", metavar="ID")
@click.option("--body", is_flag=True, help="Print the body, byte for byte.")
@click.option("--curl", is_flag=True, help="Print a shell line that sends it again; it holds a callback token.")
@json_option
def show(id_: str, *, body: bool, curl: bool, as_json: bool) -> None:
    """Show one delivery. The beginning of its ID will do."""
    given = [name for name, is_given in {"--body": body, "--curl": curl, "--json": as_json}.items() if is_given]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} each say what is printed: give one of them")
    one = Archive(need_store()).get(id_)
    if body:
        if one.body is None:
            raise CommandError(
                f"the body of {one.id} was not kept, only its size and digest", "look at it without --body"
            )
        write_bytes(one.body)
        return
    if curl:
        say(curl_line(one, os.environ))
        for name in unsendable(one):
            note(f"left out: the header {printable(name)}, for it holds CR, LF, NUL or what is not latin-1")
        return
    if as_json:
        print_json(one.as_json())
        return
    for name, value in described(one):
        say(f"{name:12} {printable(value)}")


@delivery.command()
@filter_options()
@json_option
def tail(filters: Filters, *, as_json: bool) -> None:
    """Print deliveries as they come in, until Ctrl-C; with --since first those that are there since then.

    One that a filter leaves out is printed later, once it has the verdict, pipeline or fate that is asked for.
    """
    if filters.until != math.inf:
        raise CommandError("--until ends nothing here", "`stagehook delivery list --until TIME`", Exit.USAGE)
    archive = Archive(need_store())
    following = Following(archive, filters.since)
    open_: list[str] = []
    while True:
        new = following.more()
        changed, open_ = archive.later(open_, filters)
        for one in (*changed, *filter(filters.matches, new)):
            if as_json:
                print_json(summary(one), indent=None)
            else:
                say(printable("  ".join(cells(one))))
        sys.stdout.flush()
        open_ += [one.id for one in new if filters.may_match(one) and not filters.matches(one)]
        del open_[:-TAIL_OPEN]
        if not new:  # of a long past there is another page
            time.sleep(TAIL_SECONDS)


@delivery.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options()
@click.option("--full", is_flag=True, help="As recorded: with known secrets, callback tokens and addresses.")
def export(ids: tuple[str, ...], filters: Filters, *, full: bool) -> None:
    """Print deliveries as JSON Lines, their bodies in base64, in the order of receipt.

    Known secrets, callback tokens and the addresses that requests came from are left out, and so is a body that hides
    one in base64. Other bodies stay, and may hold customers' data.
    """
    refuse_both(ids, filters)
    archive = Archive(need_store())
    chosen: Iterable[Delivery] = archive.named(ids) if ids else archive.every(filters)
    secrets = known_secrets(os.environ)
    exported = 0
    for one in chosen:
        clean = one if full else redact(one, secrets)
        print_json(clean.as_json(), indent=None)
        if one.body is not None and clean.body is None:
            note(f"left out: the body of {printable(one.id)}, for {HIDES}")
        exported += 1
    note(
        counted(exported, "delivery", "deliveries") + (", with secrets and addresses if they have any" if full else "")
    )


@delivery.command(name="import")
@click.argument("file", metavar="FILE|-")
@json_option
def import_(file: str, *, as_json: bool) -> None:
    """Add exported deliveries to the store, to be looked at and replayed. They are never forwarded by themselves."""
    # Read to its end first: a line that is wrong imports nothing, and a slow stdin keeps no store waiting.
    archive, deliveries = Archive(need_store()), list(read_file(file))
    if not deliveries:
        note("there is no delivery in it: `stagehook delivery export` writes what is imported")
    added, present, differing = archive.add(deliveries)
    if as_json:
        print_json({"added": added, "present": present, "differing": differing})
    else:
        say(
            f"{counted(added, 'delivery', 'deliveries')} added" + (f", {present} were there already" if present else "")
        )
    for id_ in differing:
        note(f"left as it is: {printable(id_)} is there with another content, as one that was redacted")


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
    refuse_both(ids, filters)
    if not ids and filters == ANY:
        raise click.UsageError("say which: IDs, or filters such as --fate parked")
    archive = Archive(need_store())
    named = archive.named(ids) if ids else (one for one in archive.every(filters) if _is_held(one, filters))
    chosen = [one.id for one in named]
    left: list[NoSuchDelivery] = []
    for id_ in chosen:
        try:
            say(printable(f"{releases.release(archive, id_, time.time(), _partner).id} is pending"))
        except NoSuchDelivery as error:  # of those chosen by filters, one that another process has released
            left.append(error)
    never = any(isinstance(why_not, NeverForwarded) for why_not in left)
    if ids:
        for why_not in left:
            note(printable(str(why_not)))
        if never:
            note(REPLAY)
        return Exit.NOT_FOUND if left else Exit.OK
    for why_not in left:
        if isinstance(why_not, releases.NotReadAgain):
            note(printable(str(why_not)))
    why = f": what is imported is never sent by itself; {REPLAY}" if never else ""
    released = counted(len(chosen) - len(left), "delivery", "deliveries")
    note(f"{released} released" + (f", {len(left)} left as they are{why}" if left else ""))
    return Exit.OK


def _is_held(one: Delivery, filters: Filters) -> bool:
    """Whether a delivery that the filters choose is one to release."""
    if filters.fate:
        return one.fate is Fate(filters.fate)
    return one.fate in HELD or is_unread(one)


def _partner(name: str) -> Partner:
    """The partner by its file and this environment; raises `SettingsError`."""
    environment = Environment(os.environ)
    partners = load_partners([name], environment)
    environment.check()
    return partners[name]


def cells(one: Delivery) -> tuple[str, ...]:
    """One line of a list."""
    received = datetime.fromtimestamp(one.received_at, UTC)
    # The id and the run need the room.
    shown = received.strftime("%H:%M:%S" if received.date() == datetime.now(UTC).date() else "%m-%d %H:%M")
    stage = f"{one.stage}/{one.attempt}" if one.stage else ""
    return one.id, shown, f"{one.status} {one.verdict}", one.partner, one.workflow_id, stage, one.fate.value


def summary(one: Delivery) -> dict[str, object]:
    """A delivery for programs, without headers and body."""
    left_out = {"headers", "body"}
    plain = {name: value for name, value in asdict(one).items() if name not in left_out}
    return {**plain, "fate": one.fate.value, "replayable": one.replayable}


def described(one: Delivery) -> Iterator[tuple[str, str]]:
    """A delivery for people."""
    yield "id", one.id
    yield "received", f"{_time(one.received_at)} from {one.client or 'an address that was left out'}"
    yield "request", f"{one.method} {one.target}"
    for name, value in one.headers:
        yield "", f"{name}: {value}"
    kept = "" if one.body is not None else ", not kept: it cannot be replayed"
    yield "body", f"{one.body_size} bytes{kept}" if one.body_digest else UNREAD.format(one.body_size)
    if one.body_digest:
        yield "sha256", one.body_digest
    yield "partner", one.partner
    if one.workflow_id:
        yield "run", one.workflow_id
        yield "chain", one.chain_id
        yield "pipeline", f"{one.pipeline or 'unknown'} (definition {one.definition or 'unknown'})"
        yield "stage", f"{one.stage}, call {one.attempt}"
    yield "says", " ".join(part for part in (one.says or "nothing that was read", one.signed_id) if part)
    yield "answer", f"{one.status} {one.verdict}" + (f": {one.reason}" if one.reason else "")
    if one.duplicate_of:
        yield "same as", one.duplicate_of
    if one.fate.value:
        why = f": {one.fate_reason}" if one.fate_reason else ""
        when = f" at {_time(one.fate_at)}" if one.fate_at else ""
        yield "fate", f"{one.fate.value}{when}, {one.tries} failed tries{why}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
