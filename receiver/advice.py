"""What to do about an error that an operator meets, on the command line and in the console."""

from __future__ import annotations

from typing import Final

from activities.client import TemporalUnreachable
from activities.finding import AttributesOff, AttributeTaken, SetupRefused, type_of
from activities.lanes import InvalidReason, LaneRefused, LanesUnsupported, NoLane
from activities.operations import NoCommands, RefusedByRun
from activities.resets import (
    HasCompleted,
    NeverCalled,
    ResetRefused,
    ResumedBefore,
    SettledByHand,
    StillOpen,
    URLsExpire,
)
from activities.run_errors import (
    NoProgressQuery,
    NoSuchStage,
    QueryFailed,
    RunEnded,
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
from receiver.deliveries.errors import NoSuchDelivery
from receiver.replay.errors import CannotSign, NotReplayable, PartnerNotEnabled
from workflows.finding import ATTRIBUTES

ERROR_ADVICE: Final[dict[type[Exception], str]] = {
    AttributesOff: "run `stagehook setup`, or use no other filter than --status and --since",
    AttributeTaken: "remove or rename that attribute, or use another namespace",
    CannotSign: "use --mode verbatim, or give the partner's file a private key of your own",
    HasCompleted: "`stagehook pipeline result` prints its result; start another run to do it again",
    NewerSchema: "deploy the version that made it, or a later one",
    InvalidReason: "use fewer emoji, quotes and control characters: each takes 2 to 6 bytes",
    LaneRefused: "do it again; if it fails again, Temporal's own log tells more",
    LanesUnsupported: "update the Temporal server to a release with UpdateTaskQueueConfig; until then no call is held",
    NeverCalled: "name a stage that was called, with `stagehook pipeline resume RUN STAGE`",
    NoCommands: "deploy this version's worker; `stagehook pipeline advance` ends a wait without it",
    NoLane: "stop the workers to hold its calls; the name of a lane has 1 to 100 letters of ASCII, digits, - and _",
    NoProgressQuery: "`stagehook pipeline watch` follows its status; Temporal's UI shows the rest",
    NoStore: "set it to the receiver's, for example sqlite:///.dev/stagehook.db",
    NoSuchDelivery: "`stagehook delivery list` lists the deliveries",
    NoSuchStage: "`stagehook pipeline show` lists the stages",
    NotReplayable: "`stagehook delivery show` has all that is known of it",
    PartnerNotEnabled: "name them in PARTNERS with their variables, or use --mode verbatim",
    QueryFailed: "start a worker of the version that began the run; nothing is lost meanwhile",
    RefusedByRun: "`stagehook pipeline show` tells what the stage waits for",
    ResetRefused: "start another run",
    ResumedBefore: "`stagehook pipeline show` tells what the run does now",
    RunEnded: "`stagehook pipeline show` tells how; `stagehook pipeline resume` goes on if it failed",
    RunNotFound: "`stagehook pipeline list` lists the runs of this namespace",
    SchemaMissing: "run `stagehook db upgrade`",
    SettledByHand: "resume it from a later stage, or start another run",
    SetupRefused: "have an administrator of Temporal register "
    + ", ".join(f"{key.name} ({type_of(key)})" for key in ATTRIBUTES),
    SeveralRevisions: "delete all rows of alembic_version but that of the tables' revision, or restore the whole store "
    "from a backup",
    StillOpen: "`stagehook pipeline call-again` calls the partner of an open stage again",
    StoreAway: "check DATABASE_URL, and that its server is up or its folder is there",
    StoreBusy: "do it again when that process is done, or end it",
    StoreSlow: "narrow the filters, for example by --since, or do it again when the store is idle",
    URLsExpire: "start another run",
    WorkerAway: "start a worker with `stagehook worker`; nothing is lost meanwhile",
}
"""The advice by the error's type; an error of a subclass has that of its base class."""


def advice_on(error: Exception) -> str | None:
    """Return what to do about an error; None for an error that is not expected."""
    if isinstance(error, TemporalUnreachable):
        return error.fault.cause.fix
    return next((ERROR_ADVICE[kind] for kind in type(error).__mro__ if kind in ERROR_ADVICE), None)
