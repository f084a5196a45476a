"""`stagehook partner`: list, pause, play or add partners, show their statistics, or tell them to stop or undo work."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final, Literal

import click

from receiver.cli.durations import read_end, read_moment
from receiver.cli.names import PARTNER, RUN_ID, SCHEME
from receiver.cli.output import NumberRange, choose, json_option, note, read_argument, run_async, yes_option
from receiver.cli.pipeline.actors import actor_option

DEFAULT_PORT: Final = 8090

KINDS: Final[Mapping[str, Literal["url", "token", "reference"]]] = {"one": "url", "two": "token", "three": "reference"}
"""The kinds of partners, and how the callbacks of each name their stage; see `activities.partners.partner`."""

run_argument = click.argument("workflow_id", metavar="RUN", type=RUN_ID)
stage_argument = click.argument("stage", type=int)


@click.group()
def partner() -> None:
    """List, pause, play or add partners, show their statistics, or tell them to stop or undo work."""


@partner.command("list")
@json_option
@run_async
async def list_partners(*, as_json: bool) -> None:
    """List the partners that can be enabled, and how the lane of each enabled one is served.

    A lane is the task queue of a partner's calls: Temporal says whether a worker takes them, and what holds them.
    Without Temporal that column is empty.
    """
    from receiver.cli.partner.lanes import print_partners

    await print_partners(as_json=as_json)


@partner.command()
@click.argument("name", type=PARTNER)
@click.option("--reason", required=True, help="Why, for those who look at the lane.")
@click.option("--until", default="", metavar="TIME", help="When it ends by itself: 2h for in two hours, or ISO 8601.")
@actor_option
@run_async
async def pause(name: str, reason: str, until: str, actor: str) -> None:
    """Let no call to partner NAME begin, in any worker, until `stagehook partner resume`.

    Calls that have begun go on, and their callbacks count. A call that waits for another try fails when its
    `call_within` has passed, as if the partner had not been reached; a call that was not tried yet waits. Questions,
    `partner stop` and `partner undo` are not held.

    The pause is kept by Temporal. A worker ends it at the time of --until.
    """
    from receiver.cli.partner.lanes import pause_partner

    await pause_partner(name, reason, read_end("--until", until) if until else 0.0, actor)


@partner.command()
@click.argument("name", type=PARTNER)
@click.option("--reason", default="", help="Why, for those who look at the lane.")
@actor_option
@run_async
async def resume(name: str, reason: str, actor: str) -> None:
    """Let the calls to partner NAME begin again, whatever holds them."""
    from receiver.cli.partner.lanes import resume_partner

    await resume_partner(name, reason, actor)


@partner.command()
@click.argument("name", type=PARTNER, required=False)
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="2h for two hours ago, or ISO 8601.")
@json_option
def stats(name: str | None, since: str, *, as_json: bool) -> None:
    """Show how long partner NAME takes to call back, what waits for it, and what was refused. Needs DATABASE_URL.

    For each stage: calls, those that came back, the seconds within which 50, 95 and 99 of 100 came, and a deadline that
    follows from them. Without NAME, a line for each partner.

    A partner is silent when at least five calls wait longer than their stage's p99 and nothing has come since.
    """
    from receiver.cli.partner.stats import print_stats

    print_stats(name, read_moment("--since", since), as_json=as_json)


@partner.command()
@click.argument("name")
@click.option(
    "--scheme", default="standard-webhooks", show_default=True, type=SCHEME, help="How it signs: a name, or `none`."
)
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    help="one: a URL per call. two: one URL, and our text comes back. three: one URL, and only its own id comes back.",
)
@click.option("--from", "captured", default="", metavar="FILE|-", help="A callback of its own, as it was captured.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header, if FILE is only the body.")
def new(name: str, scheme: str, kind: str | None, captured: str, headers: tuple[str, ...]) -> None:
    """Write the file of a partner NAME, its line in the list, a fixture and a test that passes.

    Run it in the project's folder. The kind says how a callback names its stage: without --kind, it is asked for on a
    terminal, and is one elsewhere.

    With --from, the fixture is that request: a raw HTTP request, a recorded delivery, an entry of a HAR file, what
    `curl -v` printed, or only the body, in JSON, XML or a form. Its status is read as progress until you say what it
    means.
    """
    if headers and not captured:
        raise click.UsageError("--header is about the body that --from names: give both")
    from receiver.cli.partner.adding import add_partner

    add_partner(name, scheme, KINDS[kind or _ask_for_kind()], captured, headers)


def _ask_for_kind() -> str:
    """Ask on the terminal how the partner's callbacks name their stage; "one" without a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        return "one"
    note("kinds of partner: one takes a URL with each call; two has one URL, and sends our text back;")
    note("three has one URL, and sends only its own id back")
    return choose("Kind", list(KINDS))


@partner.command()
@run_argument
@stage_argument
@yes_option
@json_option
@run_async
async def stop(workflow_id: str, stage: int, *, yes: bool, as_json: bool) -> None:
    """Tell the partner not to finish the work of RUN's stage number STAGE.

    Stops the work of the stage's latest call. The run is not told: a stage that waits goes on waiting, and calls again
    if that is its policy. First end the run with `stagehook pipeline cancel`, or the wait with `stagehook pipeline
    advance`.

    A repeated request has the same Idempotency-Key. Needs CALLBACK_KEYS and the partner's variables. Exits 1 unless the
    answer is a 2xx.
    """
    from receiver.cli.partner.tell import tell

    await tell("stop", workflow_id, stage, yes=yes, as_json=as_json)


@partner.command()
@run_argument
@stage_argument
@yes_option
@json_option
@run_async
async def undo(workflow_id: str, stage: int, *, yes: bool, as_json: bool) -> None:
    """Tell the partner to reverse the finished work of RUN's stage number STAGE.

    The run is not told: the stage keeps its outcome, and later stages that use it go on. First end the run with
    `stagehook pipeline cancel`, or a later stage's wait with `stagehook pipeline advance`.

    A repeated request has the same Idempotency-Key. Needs CALLBACK_KEYS and the partner's variables. Exits 1 unless the
    answer is a 2xx.
    """
    from receiver.cli.partner.tell import tell

    await tell("undo", workflow_id, stage, yes=yes, as_json=as_json)


@partner.command()
@click.argument("sealed", metavar="SEALED|-")
def unseal(sealed: str) -> None:
    """Print a secret that a partner has chosen for us, such as the key of its signatures.

    SEALED is the text in the log line `partner-secret`. It opens with the CALLBACK_KEYS of the receiver. What this
    prints is a secret: keep it out of logs and shell histories.
    """
    from receiver.cli.partner.unsealing import print_unsealed

    print_unsealed(read_argument(sealed, "sealed text"))


@partner.command()
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--plays", multiple=True, metavar="PARTNER=PLAY[,PLAY]", help="What it plays, attempt by attempt.")
@click.option("--delay", type=NumberRange(0, 3600), help="Seconds to a callback, for every play.")
@click.option("--seed", default=0, show_default=True, help="Decides what the play `mixed` picks.")
@run_async
async def serve(port: int, plays: tuple[str, ...], delay: float | None, seed: int) -> None:
    """Run the sandbox partner on loopback. It takes calls and answers them by callback.

    It also plays the sample partners, each in its own form, and signs with the secrets of this environment.

    Plays: at-once, later (the default), twice, early (before the call returns), never, failing, lost (no callback, but
    the result can be asked for), slow, busy (503 twice), refusing (422), forged (a wrong token first), missigned (a
    wrong body signature first, by a partner that signs), mixed.

    The text `play:NAME` in a call's data selects that play for the call, regardless of --plays.
    """
    from receiver.cli.partner.serving import serve_sandbox

    await serve_sandbox(port, plays, delay, seed)


@partner.command()
@click.argument("url", metavar="URL|-")
@click.option("--status", default="succeeded", type=click.Choice(["succeeded", "failed", "progress"]))
@click.option("--data", default="{}", help="The result, a JSON object.")
@click.option("--body", metavar="TEXT|@FILE|-", help="The whole body, in place of the partner's form with --data.")
@click.option("--content-type", default="", metavar="TYPE", help="In place of the partner's media type.")
@click.option("--reference", default="", metavar="ID", help="The partner's id of the work, for kind three.")
@click.option("--times", default=1, show_default=True, type=click.IntRange(1, 1000), help="Send it so many times.")
@click.option("--no-sign", is_flag=True, help="Leave out the body signature.")
@json_option
@run_async
async def send(
    url: str,
    status: Literal["succeeded", "failed", "progress"],
    data: str,
    body: str | None,
    content_type: str,
    reference: str,
    times: int,
    *,
    no_sign: bool,
    as_json: bool,
) -> int:
    """Answer a stage as its partner does, or with any body.

    URL is the stage's callback URL, or a partner's one webhook URL. With CALLBACK_KEYS, a callback URL says which
    partner it is for. The body then has that partner's form and media type, and is signed with its scheme and the
    secret of this environment; a thin callback has no place for --data. Otherwise the body has the sandbox partner's
    form and is not signed.

    The callback of a partner with one webhook URL (kinds two and three) is sent there, with the callback URL or the
    partner's id of the work in it. Without --reference, Temporal is asked for that id.

    `stagehook token issue` prints the URL of an open stage. Pipe it in, with - as the argument: other users of this
    machine see a command's arguments in the list of processes. Exits 1 unless every answer is a 2xx.
    """
    if url == "-" and "-" in (data, body):
        raise click.UsageError("stdin cannot hold both the URL and the body: give one of them in another way")
    url = read_argument(url, "callback URL")
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("give the whole callback URL, with http:// or https://")
    if not (content_type.isascii() and content_type.isprintable()):
        raise click.BadParameter("--content-type holds a character that no header can have")
    from receiver.cli.partner.sending import Sending, send_callback

    what = Sending(status, data, body, content_type, reference)
    return await send_callback(url, what, times, to_sign=not no_sign, as_json=as_json)
