"""The list of devices: what is read, what is refused and with which line, and that order and memory do not matter."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pki.errors import InputRefused
from signer.grants.devices import device_list
from signer.grants.rules import GrantRefused
from signer.grants.sorting import RecordFile, sorted_records
from tests.unit.grants import rig
from tests.unit.reference.fake.keys import fake_key

KEY = fake_key("device 0").public.hex()
HEADING = "uid,agreement_public_key\n"
UID = "0102030405060708090a0b0c"


def read(path: Path) -> list[bytes]:
    with device_list(path, path.parent) as found:
        records = b"".join(found.blocks(7))
        assert len(records) == 80 * found.count
        return [records[at : at + 80] for at in range(0, len(records), 80)]


def refusal(tmp_path: Path, text: str) -> tuple[str, str]:
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode())
    with pytest.raises(GrantRefused) as caught:
        read(path)
    return caught.value.rule_id, str(caught.value)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_devices_come_out_in_order_of_their_uids(tmp_path: Path, line_end: str) -> None:
    rows = rig.devices(300)
    path = rig.write_list(tmp_path / "list.csv", rows, line_end)
    assert read(path) == [one.uid + one.agreement.public for one in rows]


def test_the_last_line_may_end_without_a_line_feed_and_sizes_of_uids_may_differ(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"{HEADING}{'ff' * 16},{KEY}\n01020304,{KEY}", encoding="ascii")
    point = bytes.fromhex(KEY)
    assert read(path) == [bytes.fromhex("01020304").ljust(16, b"\0") + point, b"\xff" * 16 + point]


@pytest.mark.parametrize("text", ["", f"{UID},{KEY}\n", "uid;agreement_public_key\n", f"\ufeff{HEADING}", "uid\n"])
def test_another_first_line_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text)[0] == "GR-01"


@pytest.mark.parametrize(
    "line",
    [
        f"{UID},{KEY[:-2]}",
        f"{UID},{KEY}00",
        f"{UID},04{KEY}",
        f"{UID.upper()},{KEY}",
        f"{UID},{KEY.upper()}",
        f"{UID}, {KEY}",
        f"{UID},{KEY},",
        f"{UID},{KEY}\r\r",
        f'"{UID}",{KEY}',
        f"{UID}",
        f"010203,{KEY}",
        f"0102030,{KEY}",
        f"{'01' * 17},{KEY}",
        "",
        " ",
        f"{UID},{KEY}" + " " * 300,
        f"=cmd,{KEY}",
    ],
)
def test_a_line_that_is_none_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    rule, text = refusal(tmp_path, f"{HEADING}00000001,{KEY}\n{line}\nffffffff,{KEY}\n")
    assert rule == "GR-02"
    assert "line 3:" in text


@pytest.mark.parametrize("point", ["00" * 64, "ff" * 64, KEY[:-2] + "00", KEY[64:] + KEY[:64]])
def test_a_point_off_the_curve_is_refused_by_its_number(tmp_path: Path, point: str) -> None:
    rule, text = refusal(tmp_path, f"{HEADING}{UID},{point}\n")
    assert rule == "GR-03"
    assert "line 2:" in text


def test_a_uid_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    other = fake_key("device 1").public.hex()
    rule, text = refusal(tmp_path, f"{HEADING}{UID},{KEY}\nff020304,{KEY}\n{UID},{other}\n")
    assert rule == "GR-04"
    assert "lines 2 and 4:" in text


def test_two_uids_that_are_one_once_padded_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, f"{HEADING}01020304,{KEY}\n0102030400,{KEY}\n")[0] == "GR-04"


def test_a_uid_of_zeros_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, f"{HEADING}00000000,{KEY}\n")[0] == "GR-04"


def test_nobody_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, HEADING)[0] == "GR-05"


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="cannot be read"):
        read(tmp_path / "none.csv")


def test_temporary_files_leave_nothing(tmp_path: Path) -> None:
    path = rig.write_list(tmp_path / "list.csv", rig.devices(20))
    read(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 1000, 10_000])
def test_runs_are_merged_in_as_many_passes_as_it_takes(tmp_path: Path, count: int) -> None:
    """Runs of 10 records: 10,000 of them are 1,000 runs, more than are merged at once."""
    records = [number.to_bytes(4, "big") for number in range(count)]
    shuffled = random.Random(count).sample(records, count)
    with RecordFile(tmp_path, 4) as spool:
        assert list(sorted_records(iter(shuffled), spool, run_records=10)) == records
