"""The `stagehook` command, one module per noun. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from receiver.cli.demo import demo
from receiver.cli.errors import Exit, report
from receiver.cli.partner import partner
from receiver.cli.pipeline import pipeline
from receiver.cli.serve import serve
from receiver.cli.token import token
from receiver.cli.worker import worker


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stagehook")
def stagehook() -> None:
    """Durable pipelines through third-party partners that answer by callback.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 the run failed or timed out, 4 not found, 5 bad token, 6 expired token,
    7 Temporal unreachable, 130 interrupted.
    """


for command in (demo, serve, worker, pipeline, token, partner):
    stagehook.add_command(command)


def main() -> NoReturn:
    """Run the command and end the process."""
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        # The reader, `head` for example, may have had enough.
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    # A process that has used a Temporal client can crash while the interpreter tears it down.
    os._exit(code)


def run(args: Sequence[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    try:
        result = stagehook.main(args=list(args), prog_name="stagehook", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.OK
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except Exception as error:
        if os.environ.get("STAGEHOOK_TRACEBACK"):
            traceback.print_exc()
        return report(error)
    return result if isinstance(result, int) else Exit.OK
