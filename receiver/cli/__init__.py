"""The `stagehook` command, one module per noun. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from receiver.cli import names
from receiver.cli.errors import Exit
from receiver.cli.terminal import guarded

COMMANDS: Final = (
    "demo",
    "serve",
    "worker",
    "pipeline",
    "doctor",
    "key",
    "token",
    "partner",
    "delivery",
    "signature",
    "db",
    "completion",
)


class OneModuleEach(click.Group):
    """A group whose commands are imported when they are named.

    `--help` and a TAB import all of them: Temporal's client alone would take half a second. So a command's module is
    light: at import nothing but the standard library, click and what is as light here (`output`, `names`, `terminal`,
    `errors`). What a command does is in modules beside it, which its function imports; their types are imported under
    TYPE_CHECKING. tests/receiver/test_cli_start.py holds them to that.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of a first visit."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, from the module of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"receiver.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, and print to the end. A reader that has had enough, such as `head`, is no failure."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            return Exit.OK
        except SystemExit as stop:
            if isinstance(stop.__context__, BrokenPipeError):  # rich's way to say so
                return Exit.OK
            raise
        return result


@click.command(cls=OneModuleEach, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stagehook")
def stagehook() -> None:
    """Durable pipelines through third-party partners that answer by callback.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 the run failed or timed out, 4 not found, 5 bad token, 6 expired token,
    7 Temporal or the store unreachable, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the command and end the process."""
    # What was closed is opened to nowhere, before a file or a connection is given its number.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without our arrows is no reason to fail
    code = run(sys.argv[1:])
    names.remember()
    end_process(code)


def end_process(code: int) -> NoReturn:
    """End this process with `code`, after what was printed: the last call of whatever has used a Temporal client.

    The interpreter's own teardown crashes one such process in six when all is done (sdk-python issue 300).
    """
    for stream in (sys.stdout, sys.stderr):
        # Whatever is left here is what could not be written.
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def run(args: Sequence[str]) -> int:
    """Run the command with these arguments and return its exit code; what it prints holds no control characters."""
    with guarded():
        return _run(args)


def _run(args: Sequence[str]) -> int:
    try:
        result = stagehook.main(args=list(args), prog_name="stagehook", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    except SystemExit as stop:
        # uvicorn, which says why on stderr; its own codes mean something else here.
        return Exit.FAILED if stop.code else Exit.OK
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except Exception as error:
        if os.environ.get("STAGEHOOK_TRACEBACK"):
            traceback.print_exc()
        from receiver.cli.advice import report  # brings Temporal's client with it

        return report(error)
    return result if isinstance(result, int) else Exit.OK
