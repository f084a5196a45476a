"""The message, the advice and the exit code for each error that can end a command.

Imported only when a command has failed, because the errors' modules import Temporal's client.
"""

from __future__ import annotations

import errno
import logging
from typing import Final

import click

from activities.callback_urls import BadToken, ExpiredToken
from activities.client import TemporalUnreachable
from activities.environment import SettingsError
from activities.finding import AttributesOff, AttributeTaken, SetupRefused, type_of
from activities.operations import NoCommands, RefusedByRun
from activities.redaction.tokens import redact_tokens
from activities.resets import HasCompleted, NeverCalled, ResetRefused, SettledByHand, StillOpen, URLsExpire
from activities.run_errors import (
    NoProgressQuery,
    NoSuchStage,
    QueryFailed,
    RunCompleted,
    RunEnded,
    RunExists,
    RunNotFound,
    WorkerAway,
)
from activities.store.errors import NewerSchema, SchemaMissing, StoreAway, StoreBusy
from receiver.cli.demo.processes import PartFailed
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.deliveries.errors import NoSuchDelivery, PartlyAdded
from receiver.lifecycle import PortTaken
from receiver.logs import JSONFormatter
from receiver.replay.errors import CannotSign, NoStandIn, NotReplayable, PartnerNotEnabled
from workflows.checking import InvalidRun
from workflows.finding import ATTRIBUTES

ADVICE_BY_ERROR: dict[type[Exception], tuple[Exit, str]] = {
    AttributesOff: (Exit.FAILED, "run `stagehook setup`, or use no other filter than --status and --since"),
    AttributeTaken: (Exit.FAILED, "remove or rename that attribute, or use another namespace"),
    BadToken: (Exit.BAD_TOKEN, "copy the whole callback URL, and use the CALLBACK_KEYS of the system that issued it"),
    CannotSign: (Exit.USAGE, "use --mode verbatim, or give the partner's file a private key of your own"),
    ExpiredToken: (Exit.EXPIRED, "its stage closed long ago; `stagehook pipeline show` tells how"),
    HasCompleted: (Exit.FAILED, "`stagehook pipeline result` prints its result; start another run to do it again"),
    InvalidRun: (Exit.USAGE, "mend the definition in workflows/pipelines.py, or give what is missing with --input"),
    NoCommands: (Exit.FAILED, "deploy this version's worker; `stagehook pipeline advance` ends a wait without it"),
    NoProgressQuery: (Exit.FAILED, "`stagehook pipeline watch` follows its status; Temporal's UI shows the rest"),
    NoSuchDelivery: (Exit.NOT_FOUND, "`stagehook delivery list` lists the deliveries"),
    NeverCalled: (Exit.NOT_FOUND, "name a stage that was called, with `stagehook pipeline resume RUN STAGE`"),
    NoSuchStage: (Exit.NOT_FOUND, "`stagehook pipeline show` lists the stages"),
    NoStandIn: (Exit.USAGE, "leave that run out, or use --workflow with one of your own, or --mode verbatim"),
    NotReplayable: (Exit.FAILED, "`stagehook delivery show` has all that is known of it"),
    PartFailed: (Exit.FAILED, "do it again; if it stays, the log above says what is missing"),
    PartnerNotEnabled: (Exit.USAGE, "name them in PARTNERS with their variables, or use --mode verbatim"),
    PortTaken: (Exit.FAILED, "end what listens there, or choose another port (PORT, or --port)"),
    QueryFailed: (Exit.FAILED, "start a worker of the version that began the run; nothing is lost meanwhile"),
    RefusedByRun: (Exit.FAILED, "`stagehook pipeline show` tells what the stage waits for"),
    ResetRefused: (Exit.FAILED, "start another run"),
    RunEnded: (Exit.FAILED, "`stagehook pipeline show` tells how; `stagehook pipeline resume` goes on if it failed"),
    RunCompleted: (Exit.FAILED, "choose another --id, or start a second run with this id by --again"),
    RunExists: (Exit.FAILED, "choose another --id, or look at that run with `stagehook pipeline show`"),
    RunNotFound: (Exit.NOT_FOUND, "`stagehook pipeline list` lists the runs of this namespace"),
    SchemaMissing: (Exit.FAILED, "run `stagehook db upgrade`"),
    NewerSchema: (Exit.FAILED, "deploy the version that made it, or a later one"),
    PartlyAdded: (Exit.UNREACHABLE, "do it again when the store can be written to: what was added stays"),
    SettledByHand: (Exit.FAILED, "resume it from a later stage, or start another run"),
    StillOpen: (Exit.FAILED, "`stagehook pipeline call-again` calls the partner of an open stage again"),
    SetupRefused: (
        Exit.FAILED,
        "have an administrator of Temporal register " + ", ".join(f"{key.name} ({type_of(key)})" for key in ATTRIBUTES),
    ),
    StoreBusy: (Exit.UNREACHABLE, "do it again when that process is done, or end it"),
    StoreAway: (Exit.UNREACHABLE, "check DATABASE_URL, and that its server is up or its folder is there"),
    SettingsError: (
        Exit.USAGE,
        "set what is named above (beside `make dev`: set -a; . ./.env; set +a); .env.example describes the variables "
        "that are not a partner's",
    ),
    URLsExpire: (Exit.FAILED, "start another run"),
    WorkerAway: (Exit.FAILED, "start a worker with `stagehook worker`; nothing is lost meanwhile"),
}
"""The advice for each error that can end a command."""

UNWRITABLE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a disk that is full or broken."""


def report_error(error: Exception) -> Exit:
    """Print the error to stderr, without callback tokens that were typed, and return the exit code."""
    code, advice = _advice(error)
    note(f"error: {_without_tokens(_what(error))}")
    note(f"  try: {advice}")
    return code


def log_error(error: Exception, *, with_traceback: bool) -> Exit:
    """Write the error to stderr as an event for machines, and return the exit code."""
    code, advice = _advice(error)
    record = logging.LogRecord("stagehook", logging.ERROR, "", 0, "failed", (), None)
    if with_traceback or not _is_expected(error):
        record.exc_info = (type(error), error, error.__traceback__)
    faults = {"faults": list(map(str, error.faults))} if isinstance(error, SettingsError) else {}
    vars(record).update(why=_without_tokens(_what(error)), **faults, advice=advice, code=int(code))
    note(JSONFormatter().format(record))
    return code


def _without_tokens(text: str) -> str:
    return redact_tokens(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _is_expected(error: Exception) -> bool:
    return isinstance(error, (CommandError, click.ClickException, *ADVICE_BY_ERROR))


def _what(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"the output cannot be written: {error.strerror}"
    if isinstance(error, click.BadParameter) and error.param:
        # Unlike str(error), this names the option. It has several lines if there are choices.
        return " ".join(error.format_message().split())
    return str(error) or type(error).__name__


def _advice(error: Exception) -> tuple[Exit, str]:
    if isinstance(error, CommandError):
        return error.code, error.advice
    if isinstance(error, TemporalUnreachable):
        return Exit.UNREACHABLE, error.fault.cause.fix
    for kind, (code, advice) in ADVICE_BY_ERROR.items():
        if isinstance(error, kind):
            return code, advice
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return Exit.FAILED, "make room there, or write to another place"
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        return Exit.USAGE, f"{context.command_path if context else 'stagehook'} --help"
    return Exit.FAILED, "run it again with STAGEHOOK_TRACEBACK=1 and report what it prints"
