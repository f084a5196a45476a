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
from activities.finding import AttributesOff, AttributeTaken, SetupRefused
from activities.lanes import InvalidReason, LaneRefused, LanesUnsupported, NoLane
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
from activities.store.errors import (
    NewerSchema,
    NoStore,
    SchemaMissing,
    SeveralRevisions,
    StoreAway,
    StoreBusy,
    StoreSlow,
)
from receiver.advice import ERROR_ADVICE
from receiver.cli.demo.processes import PartFailed
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.deliveries.errors import NoSuchDelivery, PartlyAdded
from receiver.lifecycle import PortTaken
from receiver.logs import JSONFormatter
from receiver.replay.errors import CannotSign, NoStandIn, NotReplayable, PartnerNotEnabled
from workflows.checking import InvalidRun

ADVICE_BY_ERROR: dict[type[Exception], tuple[Exit, str]] = {
    AttributesOff: (Exit.FAILED, ERROR_ADVICE[AttributesOff]),
    AttributeTaken: (Exit.FAILED, ERROR_ADVICE[AttributeTaken]),
    BadToken: (Exit.BAD_TOKEN, "copy the whole callback URL, and use the CALLBACK_KEYS of the system that issued it"),
    CannotSign: (Exit.USAGE, ERROR_ADVICE[CannotSign]),
    ExpiredToken: (Exit.EXPIRED, "its stage closed long ago; `stagehook pipeline show` tells how"),
    HasCompleted: (Exit.FAILED, ERROR_ADVICE[HasCompleted]),
    InvalidReason: (Exit.USAGE, ERROR_ADVICE[InvalidReason]),
    InvalidRun: (Exit.USAGE, "mend the definition in workflows/pipelines.py, or give what is missing with --input"),
    NoCommands: (Exit.FAILED, ERROR_ADVICE[NoCommands]),
    NoLane: (Exit.USAGE, ERROR_ADVICE[NoLane]),
    NoProgressQuery: (Exit.FAILED, ERROR_ADVICE[NoProgressQuery]),
    NoSuchDelivery: (Exit.NOT_FOUND, ERROR_ADVICE[NoSuchDelivery]),
    LanesUnsupported: (Exit.FAILED, ERROR_ADVICE[LanesUnsupported]),
    LaneRefused: (Exit.FAILED, ERROR_ADVICE[LaneRefused]),
    NeverCalled: (Exit.NOT_FOUND, ERROR_ADVICE[NeverCalled]),
    NoSuchStage: (Exit.NOT_FOUND, ERROR_ADVICE[NoSuchStage]),
    NoStandIn: (Exit.USAGE, "leave that run out, or use --workflow with one of your own, or --mode verbatim"),
    NotReplayable: (Exit.FAILED, ERROR_ADVICE[NotReplayable]),
    PartFailed: (Exit.FAILED, "do it again; if it stays, the log above says what is missing"),
    PartnerNotEnabled: (Exit.USAGE, ERROR_ADVICE[PartnerNotEnabled]),
    PortTaken: (Exit.FAILED, "end what listens there, or choose another port (PORT, or --port)"),
    QueryFailed: (Exit.FAILED, ERROR_ADVICE[QueryFailed]),
    RefusedByRun: (Exit.FAILED, ERROR_ADVICE[RefusedByRun]),
    ResetRefused: (Exit.FAILED, ERROR_ADVICE[ResetRefused]),
    RunEnded: (Exit.FAILED, ERROR_ADVICE[RunEnded]),
    RunCompleted: (Exit.FAILED, "choose another --id, or start a second run with this id by --again"),
    RunExists: (Exit.FAILED, "choose another --id, or look at that run with `stagehook pipeline show`"),
    RunNotFound: (Exit.NOT_FOUND, ERROR_ADVICE[RunNotFound]),
    SchemaMissing: (Exit.FAILED, ERROR_ADVICE[SchemaMissing]),
    NewerSchema: (Exit.FAILED, ERROR_ADVICE[NewerSchema]),
    PartlyAdded: (Exit.UNREACHABLE, "do it again when the store can be written to: what was added stays"),
    SettledByHand: (Exit.FAILED, ERROR_ADVICE[SettledByHand]),
    SeveralRevisions: (Exit.FAILED, ERROR_ADVICE[SeveralRevisions]),
    StillOpen: (Exit.FAILED, ERROR_ADVICE[StillOpen]),
    SetupRefused: (Exit.FAILED, ERROR_ADVICE[SetupRefused]),
    NoStore: (Exit.USAGE, ERROR_ADVICE[NoStore]),
    StoreBusy: (Exit.UNREACHABLE, ERROR_ADVICE[StoreBusy]),
    StoreSlow: (Exit.UNREACHABLE, ERROR_ADVICE[StoreSlow]),
    StoreAway: (Exit.UNREACHABLE, ERROR_ADVICE[StoreAway]),
    SettingsError: (
        Exit.USAGE,
        "set what is named above (beside `make dev`: set -a; . ./.env; set +a); .env.example describes the variables "
        "that are not a partner's",
    ),
    URLsExpire: (Exit.FAILED, ERROR_ADVICE[URLsExpire]),
    WorkerAway: (Exit.FAILED, ERROR_ADVICE[WorkerAway]),
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
