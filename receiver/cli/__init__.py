"""The `stagehook` command, with a module for each subcommand. Data goes to stdout, everything else to stderr."""

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
    "dev",
    "serve",
    "worker",
    "console",
    "pipeline",
    "setup",
    "doctor",
    "key",
    "token",
    "partner",
    "delivery",
    "signature",
    "db",
    "completion",
)


SERVICES: Final = (("serve",), ("worker",), ("console",), ("partner", "serve"))
"""The commands that run until they are stopped, and log."""


class OneModuleEach(click.Group):
    """A group that imports a command's module when the command is named.

    `--help` and a TAB import all of these modules, and Temporal's client alone takes half a second to import. So a
    command's module imports only the standard library, click and our light modules (`output`, `names`, `terminal`,
    `errors`). The work of a command is in separate modules, which its function imports; their types are imported under
    TYPE_CHECKING. tests/receiver/test_cli_start.py enforces this.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command from the module with the same name; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"receiver.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command and flush its output. It is not an error if a reader such as `head` stops early."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            return Exit.OK
        except SystemExit as stop:
            if isinstance(stop.__context__, BrokenPipeError):  # how rich reports it
                return Exit.OK
            raise
        return result


@click.command(cls=OneModuleEach, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stagehook")
def stagehook() -> None:
    """Durable pipelines through third-party partners that answer by callback.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 the run failed or timed out, 4 not found, 5 bad token, 6 expired token,
    7 Temporal, the store or a worker unreachable, 8 not known whether it was carried out, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the command and end the process."""
    # A closed stdout or stderr becomes /dev/null, before a file or a connection can get its descriptor.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an encoding without our arrows must not fail
    code = run(sys.argv[1:])
    names.remember()
    end_process(code)


def end_process(code: int) -> NoReturn:
    """Flush the output and end this process with `code`. Call it last in every process that used a Temporal client.

    The interpreter's own teardown crashes one in six of such processes after their work is done (sdk-python issue 300).
    """
    for stream in (sys.stdout, sys.stderr):
        # Output that is left after an error cannot be written.
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def run(args: Sequence[str]) -> int:
    """Run the command with these arguments and return its exit code; what it prints holds no control characters."""
    with guarded():
        return _run_command(args)


def _run_command(args: Sequence[str]) -> int:
    try:
        result = stagehook.main(args=list(args), prog_name="stagehook", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    except SystemExit as stop:
        # From uvicorn, which prints the reason to stderr. Its exit codes have another meaning here.
        return Exit.FAILED if stop.code else Exit.OK
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except Exception as error:
        from receiver.cli import advice  # imports Temporal's client

        with_traceback = bool(os.environ.get("STAGEHOOK_TRACEBACK"))
        if _logs_for_machines(args):
            return advice.log_error(error, with_traceback=with_traceback)
        if with_traceback:
            traceback.print_exc()
        return advice.report_error(error)
    return result if isinstance(result, int) else Exit.OK


def _logs_for_machines(args: Sequence[str]) -> bool:
    """Whether a machine reads the stderr of this command."""
    for_machines = os.environ.get("LOG_FORMAT", "").strip().lower() == "json"
    return for_machines and any(tuple(args[: len(words)]) == words for words in SERVICES)
