"""Backup and restore of log and key store: one pair, whole or refused, and never back behind what was seen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pki.errors import InputRefused, OutputError, PolicyViolation
from signer.log.audit_log import TileLog, open_audit_log
from signer.log.backup import (
    back_up,
    put_in_place,
    read_backup,
    refuse_rollback,
    require_beginning_of_present,
)
from signer.log.checkpoint import parse_checkpoint
from signer.store.errors import KeyStoreDamaged
from signer.store.maintenance import create_key_store
from tests.unit.log.logs import event, fast_folder, later, new_log
from tests.unit.log.software_key import SoftwareKey
from verifiers.audit_log import verify_log


@dataclass
class Rig:
    place: Path
    log: TileLog
    key: SoftwareKey

    @property
    def store(self) -> Path:
        return self.place / "store" / "keys.sqlite"

    @property
    def backup(self) -> Path:
        return self.place / "backup"

    def grow(self, count: int) -> bytes:
        self.log.append([event(number) for number in range(count)], later(1000 + self.log.size))
        return self.log.checkpoint()


@pytest.fixture
def rig() -> Iterator[Rig]:
    key = SoftwareKey()
    with fast_folder() as place:
        (place / "store").mkdir()
        create_key_store(place / "store" / "keys.sqlite")
        with new_log(place / "log", key, 300) as log:
            made = Rig(place, log, key)
            log.append([event()], later(400))
            back_up(log, made.store, made.backup, later(400))
            yield made


def test_a_backup_is_a_log_of_its_own_that_verifies(rig: Rig) -> None:
    """It goes up to the newest entry: a checkpoint was signed for it."""
    backup = read_backup(rig.backup)
    assert backup.head.size == rig.log.size == 301
    verify_log(backup.log, [rig.key.pem])
    with open_audit_log(backup.log, rig.key) as copy:
        assert copy.checkpoint() == rig.log.checkpoint()
    assert not list(rig.place.glob(".*"))


def test_a_backup_overwrites_nothing(rig: Rig) -> None:
    with pytest.raises(OutputError, match="exists already"):
        back_up(rig.log, rig.store, rig.backup, later(500))


def test_a_backup_that_fails_leaves_nothing(rig: Rig) -> None:
    rig.store.write_bytes(b"no key store")
    with pytest.raises(Exception, match="not a database"):
        back_up(rig.log, rig.store, rig.place / "other", later(500))
    assert not [path for path in rig.place.iterdir() if "other" in path.name]


@pytest.mark.parametrize("name", ["keys.sqlite", "log/index.sqlite", "log/checkpoint", "backup.json"])
@pytest.mark.parametrize("loses", [True, False])
def test_a_backup_that_is_not_whole_is_refused(rig: Rig, name: str, loses: bool) -> None:
    """Here a changed byte of the first line stands for all; the tiles and signatures are the verifier's."""
    path = rig.backup / name
    if loses:
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[5] ^= 0x01
        path.write_bytes(content)
    with pytest.raises((InputRefused, KeyStoreDamaged)):
        read_backup(rig.backup)


def test_the_same_moment_may_be_put_back(rig: Rig) -> None:
    refuse_rollback(read_backup(rig.backup), rig.log.folder, [])


def test_al_03_entries_logged_since_are_not_undone(rig: Rig) -> None:
    rig.log.append([event()], later(500))
    with pytest.raises(PolicyViolation, match=r"AL-03.*302 entries"):
        refuse_rollback(read_backup(rig.backup), rig.log.folder, [])
    rig.log.checkpoint()
    with pytest.raises(PolicyViolation, match=r"AL-03.*too old"):
        refuse_rollback(read_backup(rig.backup), rig.log.folder, [])


def test_al_03_what_a_witness_saw_is_not_undone_even_when_all_is_lost(rig: Rig) -> None:
    note = rig.grow(3)
    shutil.rmtree(rig.log.folder)
    backup = read_backup(rig.backup)
    refuse_rollback(backup, rig.log.folder, [])
    with pytest.raises(PolicyViolation, match="AL-03"):
        refuse_rollback(backup, rig.log.folder, [parse_checkpoint(note)])


def test_al_03_a_backup_of_a_fork_is_refused(rig: Rig) -> None:
    fork = rig.place / "fork"
    shutil.copytree(rig.log.folder, fork)
    rig.grow(1)
    with TileLog(fork, rig.key) as log:
        log.append([event(7), event(8)], later(2000))
        back_up(log, rig.store, rig.place / "fork-backup", later(2000))
    with pytest.raises(PolicyViolation, match=r"AL-03.*not those"):
        refuse_rollback(read_backup(rig.place / "fork-backup"), rig.log.folder, [])
    require_beginning_of_present(read_backup(rig.backup), rig.log.folder)
    with pytest.raises(PolicyViolation, match="AL-03"):
        require_beginning_of_present(read_backup(rig.place / "fork-backup"), rig.log.folder)


def test_al_03_another_log_s_backup_is_refused(rig: Rig) -> None:
    other = SoftwareKey()
    with new_log(rig.place / "other", other, 400) as log:
        back_up(log, rig.store, rig.place / "other-backup", later(1000))
    with pytest.raises(PolicyViolation, match="AL-03"):
        refuse_rollback(read_backup(rig.place / "other-backup"), rig.log.folder, [])


def test_a_damaged_log_gives_way_and_is_kept(rig: Rig) -> None:
    (rig.log.folder / "index.sqlite").write_bytes(b"damage")
    (rig.log.folder / "checkpoint").write_bytes(b"damage")
    backup = read_backup(rig.backup)
    refuse_rollback(backup, rig.log.folder, [])
    kept = put_in_place(backup.log, rig.log.folder)
    assert kept is not None
    assert (kept / "index.sqlite").read_bytes() == b"damage"
    with open_audit_log(rig.log.folder, rig.key) as log:
        log.append([event()], later(2000))
        log.checkpoint()
    verify_log(rig.log.folder, [rig.key.pem])


def test_a_journal_never_stands_beside_another_database(rig: Rig) -> None:
    journal = rig.store.with_name("keys.sqlite-journal")
    journal.write_bytes(b"left by a crash")
    first = put_in_place(rig.backup / "keys.sqlite", rig.store)
    second = put_in_place(rig.backup / "keys.sqlite", rig.store)
    assert first is not None
    assert second is not None
    assert first != second
    assert not journal.exists()
    assert first.with_name(f"{first.name}-journal").read_bytes() == b"left by a crash"
