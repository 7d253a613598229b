"""The ledger: restarts, databases put back, tokens put back, shared commits, faults, backup and restore."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from pki.errors import PolicyViolation
from provisioning.station.backup import add_births, evidence_from_ledger
from provisioning.station.births_file import BirthsReader, write_births
from provisioning.station.evidence import newest_evidence
from provisioning.station.facts import Verdict
from provisioning.station.ledger_file import LedgerFile, LedgerRow
from provisioning.station.rules import Rule
from provisioning.station.station import Station
from tests.stations.paper_bench import NOW, Bench, MemoryEvidence

ORDER_ID = bytes(range(101, 117))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, quota=50).init()


def make(bench: Bench, station: Station, *numbers: int) -> None:
    for number in numbers:
        assert bench.attempt(station, bench.chip(number)).passed


def evidence_of(bench: Bench) -> MemoryEvidence:
    assert isinstance(bench.evidence, MemoryEvidence)
    return bench.evidence


def test_both_settings_hold_and_records_cannot_be_changed(bench: Bench) -> None:
    station = bench.open()
    make(bench, station, 1)
    run = station.ledger._file._connection.execute
    assert run("PRAGMA synchronous").fetchone() == (3,)
    assert run("PRAGMA journal_mode").fetchone() == ("persist",)
    for statement in (
        "UPDATE records SET record = x'00'",
        "DELETE FROM records",
        "INSERT OR REPLACE INTO records SELECT * FROM records",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            run(statement)


def test_a_database_restored_from_yesterday_is_refused(bench: Bench) -> None:
    station = bench.open()
    make(bench, station, 1)
    yesterday = bench.folder / "yesterday.sqlite"
    station.ledger._file.copy_to(yesterday)
    make(bench, station, 2)
    station.ledger.close()
    shutil.copy(yesterday, bench.ledger_path)
    with pytest.raises(PolicyViolation, match="ST-20"):
        bench.open()


def test_an_empty_database_is_refused_once_something_was_counted(bench: Bench) -> None:
    station = bench.open()
    make(bench, station, 1)
    station.ledger.close()
    bench.ledger_path.unlink()
    with pytest.raises(PolicyViolation, match="ST-24"):
        bench.open()
    objects = dict(evidence_of(bench).objects)
    bench.init()
    evidence_of(bench).objects = objects
    with pytest.raises(PolicyViolation, match="ST-20"):
        bench.open()


def test_a_token_put_back_is_refused(bench: Bench) -> None:
    station = bench.open()
    make(bench, station, 1)
    yesterday = dict(evidence_of(bench).objects)
    make(bench, station, 2)
    station.ledger.close()
    evidence_of(bench).objects = yesterday
    with pytest.raises(PolicyViolation, match="ST-21"):
        bench.open()


def test_another_or_emptied_token_is_refused(bench: Bench) -> None:
    evidence_of(bench).objects.clear()
    with pytest.raises(PolicyViolation, match="ST-23"):
        bench.open()


def test_a_ledger_of_the_same_length_that_says_otherwise_is_refused(bench: Bench, tmp_path: Path) -> None:
    station = bench.open()
    make(bench, station, 1)
    station.ledger.close()
    (tmp_path / "other").mkdir()
    other = Bench(
        tmp_path / "other", bench.production, bench.lot, bench.lot_ca, bench.station_key, MemoryEvidence(), quota=50
    ).init()
    other.order = bench.order
    make(other, other.open(), 9)
    shutil.copy(other.ledger_path, bench.ledger_path)
    with pytest.raises(PolicyViolation, match="ST-22"):
        bench.open()


def test_a_kill_between_ledger_and_evidence_is_mended_at_the_next_start(bench: Bench) -> None:
    station = bench.open()
    make(bench, station, 1)
    before = dict(evidence_of(bench).objects)
    station.scrap(bench.chip(7).uid, "fell down")
    station.ledger.close()
    evidence_of(bench).objects = before
    again = bench.open()
    found = newest_evidence(bench.evidence.read(ORDER_ID), ORDER_ID, bench.station_key.public_key)
    assert found == again.ledger.evidence
    assert again.ledger.boards.scrapped == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET record = CAST(replace(CAST(record AS TEXT), '\"sequence\":1', '\"sequence\":2') AS BLOB)",
        "DELETE FROM records WHERE number = 1",
        "DELETE FROM records WHERE number = 2",
        "UPDATE records SET number = number + 10 WHERE number = 4",
        "UPDATE records SET signature = zeroblob(64) WHERE number = 4",
        "UPDATE records SET commit_number = 9 WHERE number = 1",
        "UPDATE records SET record = CAST(CAST(record AS TEXT) || ' ' AS BLOB) WHERE number = 3",
    ],
)
def test_a_changed_ledger_is_refused(bench: Bench, damage: str) -> None:
    station = bench.open()
    make(bench, station, 1, 2)
    station.ledger.close()
    with sqlite3.connect(bench.ledger_path) as connection:
        connection.execute("DROP TRIGGER records_stay")
        connection.execute("DROP TRIGGER records_remain")
        connection.execute(damage)
    connection.close()
    with pytest.raises(PolicyViolation, match=r"ST-2[024]"):
        bench.open()


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\0"])
def test_a_file_that_is_no_ledger_is_refused(bench: Bench, content: bytes) -> None:
    bench.ledger_path.write_bytes(content)
    with pytest.raises(PolicyViolation, match="ST-24"):
        bench.open()


def test_a_ledger_that_others_can_read_is_refused(bench: Bench) -> None:
    bench.ledger_path.chmod(0o644)
    with pytest.raises(PolicyViolation, match="ST-24"):
        bench.open()


def test_many_nests_share_commits_and_no_number_is_given_twice(bench: Bench) -> None:
    station = bench.open()
    verdicts: list[Verdict] = []

    def work(first: int) -> None:
        verdicts.extend(bench.attempt(station, bench.chip(first + index)) for index in range(5))

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(verdict.passed for verdict in verdicts)
    assert sorted(verdict.sequence or 0 for verdict in verdicts) == list(range(1, 41))
    station.ledger.close()
    again = bench.open()
    assert (again.ledger.boards.begun, again.ledger.boards.activated) == (40, 40)


def test_the_last_place_is_given_once_to_nests_that_ask_at_the_same_time(bench: Bench) -> None:
    bench.quota = 50
    station = bench.open()
    make(bench, station, *range(1, 49))
    barrier, passed = threading.Barrier(6), []

    def work(number: int) -> None:
        barrier.wait()
        passed.append(bench.attempt(station, bench.chip(number)).passed)

    threads = [threading.Thread(target=work, args=(1000 + number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 2
    assert station.ledger.boards.begun == 50


def test_a_token_that_fails_stops_the_station_and_nothing_is_sent(bench: Bench) -> None:
    station = bench.open()
    evidence_of(bench).fails_with = OSError("the token was pulled out")
    chip = bench.chip(1)
    verdict = bench.attempt(station, chip)
    assert verdict.rule is Rule.STATION_STOPPED
    assert chip.activation == b""
    evidence_of(bench).fails_with = None
    assert bench.attempt(station, bench.chip(2)).rule is Rule.STATION_STOPPED
    station.ledger.close()
    again = bench.open()
    assert bench.attempt(again, chip).sequence == 1
    assert again.ledger.boards.begun == 1


def test_a_disk_that_fails_stops_the_station_and_nothing_is_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    station = bench.open()

    def full(_: LedgerFile, __: list[LedgerRow]) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(LedgerFile, "append", full)
    chip = bench.chip(1)
    assert bench.attempt(station, chip).rule is Rule.STATION_STOPPED
    assert chip.activation == b""
    monkeypatch.undo()
    station.ledger.close()
    assert bench.open().ledger.boards.begun == 0


@pytest.mark.parametrize(("minutes", "passes"), [(-4, True), (-6, False)])
def test_a_clock_that_was_set_back_is_refused_beyond_its_tolerance(bench: Bench, minutes: int, passes: bool) -> None:
    station = bench.open()
    make(bench, station, 1)
    bench.now = NOW + timedelta(minutes=minutes)
    verdict = bench.attempt(station, bench.chip(2))
    assert verdict.passed is passes
    assert verdict.rule is (None if passes else Rule.CLOCK_SET_BACK)
    times = [signed.record.at for signed in station.ledger.records()]
    assert times == sorted(times)


def test_a_sub_quota_beyond_what_a_station_holds_is_refused(bench: Bench) -> None:
    from signer.device_objects.work_order import StationQuota

    share = StationQuota(bench.station_key.public_key.spki_sha256, 1_000_001)
    bench.order = bench.make_order(quota=2_000_000, stations=(share,))
    with pytest.raises(PolicyViolation, match="ST-14"):
        bench.open()


# Export, backup, restore


def export(bench: Bench, station: Station, path: Path, first: int = 1) -> Path:
    ledger = station.ledger
    lines = write_births(bench.order, bench.station_key, first, ledger.records(first), ledger.evidence, NOW)
    path.write_bytes(b"".join(lines))
    return path


def test_what_is_exported_is_read_back(bench: Bench, tmp_path: Path) -> None:
    station = bench.open()
    make(bench, station, 1, 2)
    with export(bench, station, tmp_path / "a.births", 2).open("rb") as stream:
        reader = BirthsReader(stream)
        records = [signed.record for signed in reader.records()]
    assert [record.number for record in records] == [2, 3, 4]
    assert reader.end is not None
    assert (reader.end.number, reader.end.head) == (4, station.ledger.boards.head)


def test_an_empty_ledger_is_exported_too(bench: Bench, tmp_path: Path) -> None:
    with export(bench, bench.open(), tmp_path / "a.births").open("rb") as stream:
        reader = BirthsReader(stream)
        assert list(reader.records()) == []


def test_a_changed_or_cut_file_is_refused(bench: Bench, tmp_path: Path) -> None:
    station = bench.open()
    make(bench, station, 1)
    good = export(bench, station, tmp_path / "a.births").read_bytes()
    lines = good.splitlines(keepends=True)
    wrong = [
        b"".join(lines[:-1]),
        good[:-1],
        good + b"\n",
        good + lines[1],
        b"".join([lines[0], lines[2], lines[3]]),
        b"".join([lines[0], lines[2], lines[1], lines[3]]),
        lines[0].replace(b'"count":2', b'"count":1') + b"".join(lines[1:]),
        b"".join(lines[:-1]) + lines[-1].replace(b'"number":2', b'"number":3'),
        b"".join(lines[:-1]) + lines[-1].replace(b'"evidence_commit":2', b'"evidence_commit":3'),
        lines[0].replace(b"births-1", b"births-2") + b"".join(lines[1:]),
        b"",
        b"{}\n",
    ]
    for data in wrong:
        path = tmp_path / "b.births"
        path.write_bytes(data)
        with path.open("rb") as stream, pytest.raises(PolicyViolation, match="BR-10"):
            list(BirthsReader(stream).records())


def test_an_old_backup_comes_back_with_what_was_exported_since(bench: Bench, tmp_path: Path) -> None:
    station = bench.open()
    make(bench, station, 1)
    backup = tmp_path / "backup.sqlite"
    station.ledger._file.copy_to(backup)
    make(bench, station, 2, 3)
    births = export(bench, station, tmp_path / "all.births")
    station.ledger.close()
    shutil.copy(backup, bench.ledger_path)
    found = newest_evidence(bench.evidence.read(ORDER_ID), ORDER_ID, bench.station_key.public_key)
    assert found is not None
    with births.open("rb") as stream:
        assert add_births(bench.ledger_path, [BirthsReader(stream)], bench.order, found, bench.station_key) == 4
    again = bench.open()
    assert again.ledger.boards.begun == 3
    make(bench, again, 4)


def test_an_old_backup_without_them_stays_refused(bench: Bench, tmp_path: Path) -> None:
    station = bench.open()
    make(bench, station, 1)
    backup = tmp_path / "backup.sqlite"
    station.ledger._file.copy_to(backup)
    partly = export(bench, station, tmp_path / "partly.births")
    make(bench, station, 2)
    station.ledger.close()
    found = newest_evidence(bench.evidence.read(ORDER_ID), ORDER_ID, bench.station_key.public_key)
    assert found is not None
    with partly.open("rb") as stream, pytest.raises(PolicyViolation, match="ST-20"):
        add_births(backup, [BirthsReader(stream)], bench.order, found, bench.station_key)


def test_evidence_is_written_anew_only_for_a_ledger_that_goes_on_from_it(bench: Bench) -> None:
    station = bench.open()
    make(bench, station, 1)
    yesterday = dict(evidence_of(bench).objects)
    make(bench, station, 2)
    station.ledger.close()
    evidence_of(bench).objects = dict(yesterday)
    file = LedgerFile(bench.ledger_path)
    renewed = evidence_from_ledger(file, bench.evidence, bench.order, bench.station_key)
    assert renewed.begun == 2
    file.close()
    assert bench.open().ledger.boards.begun == 2


def test_evidence_never_goes_back_to_an_older_ledger(bench: Bench, tmp_path: Path) -> None:
    station = bench.open()
    make(bench, station, 1)
    backup = tmp_path / "backup.sqlite"
    station.ledger._file.copy_to(backup)
    make(bench, station, 2)
    file = LedgerFile(backup)
    with pytest.raises(PolicyViolation, match="ST-20"):
        evidence_from_ledger(file, bench.evidence, bench.order, bench.station_key)
    file.close()
