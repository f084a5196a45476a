"""Who can read SQLite's files: their owner, whatever the umask is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.store import migrations
from activities.store.database import Database
from activities.store.store import Store
from receiver.cli.doctor.checks import _store
from receiver.deliveries.archive import Archive
from receiver.deliveries.inbox import Inbox
from tests.parts.deliveries import delivery, keep
from tests.stores import PATIENT

NAMES = {"deliveries.db", "deliveries.db-wal", "deliveries.db-shm"}


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """As open as it can be."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path}/deliveries.db")


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def as_earlier_versions_did(folder: Path, mode: int) -> None:
    for file in folder.iterdir():
        file.chmod(mode)


async def test_new_files_are_their_owners_alone(database: Database, tmp_path: Path) -> None:
    migrations.upgrade(database)
    async with (inbox := Inbox(database, PATIENT)).running():
        await keep(inbox, delivery(), "a")
        assert modes(tmp_path) == dict.fromkeys(NAMES, 0o600)


def test_a_file_is_private_before_it_has_a_table(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the moment at which it exists: SQLite is given a file that is there."""
    found: list[dict[str, int]] = []
    create = os.open

    def noting(path: Path, flags: int, mode: int = 0o777) -> int:
        file = create(path, flags, mode)
        found.append(modes(tmp_path))
        return file

    monkeypatch.setattr(os, "open", noting)
    assert list(modes(tmp_path)) == []
    migrations.upgrade(database)
    assert found == [{"deliveries.db": 0o600}]


async def test_files_that_everybody_can_read_are_tightened(database: Database, tmp_path: Path) -> None:
    migrations.upgrade(database)
    async with (inbox := Inbox(database, PATIENT)).running():
        await keep(inbox, delivery(), "a")
        as_earlier_versions_did(tmp_path, 0o644)
        assert len(list(Archive(database).every())) == 1
        assert modes(tmp_path) == dict.fromkeys(NAMES, 0o600)
        await keep(inbox, delivery(), "b")  # no lock was lost


def test_a_file_for_a_group_stays_one(database: Database, tmp_path: Path) -> None:
    migrations.upgrade(database)
    as_earlier_versions_did(tmp_path, 0o660)
    assert list(Archive(database).every()) == []
    assert modes(tmp_path)["deliveries.db"] == 0o660


def test_doctor_tells_of_files_that_cannot_be_tightened(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    migrations.upgrade(database)
    assert _store(Store(database)).ok
    as_earlier_versions_did(tmp_path, 0o644)
    monkeypatch.setattr(Path, "chmod", refused)
    found = _store(Store(database))
    assert (found.ok, "every user of this machine can read" in found.says) == (False, True)
