"""Every fault by its name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from tests.chaos.fault import Fault
from tests.chaos.plan import FaultKind
from tests.chaos.process_faults import (
    child_ended,
    child_killed,
    child_stopped,
    clock_ahead,
    clock_behind,
    ended,
    killed,
    link_cut,
    link_mute,
    run_reset,
    stopped,
)
from tests.chaos.store_faults import (
    backend_killed,
    backend_stopped,
    backends_ended,
    commit_cut,
    commit_delayed,
    commit_lost,
    commit_mute,
    crashed,
    disk_full,
    file_full,
    file_locked,
    frozen,
    locked,
    pooler_restarted,
    read_only,
)
from tests.chaos.system import System

FAULTS: Final[Mapping[str, Fault]] = {
    fault.__name__: fault
    for fault in (
        *(killed, ended, stopped, child_killed, child_ended, child_stopped, clock_behind, clock_ahead),
        *(link_mute, link_cut, run_reset),
        *(backends_ended, backend_killed, backend_stopped, crashed, frozen, disk_full, read_only, locked),
        *(commit_cut, commit_lost, commit_mute, commit_delayed, pooler_restarted),
        *(file_locked, file_full),
    )
}


def fault_of(system: System, kind: FaultKind) -> AbstractAsyncContextManager[None]:
    """The fault of this kind."""
    return FAULTS[kind.name](system, kind.part)
