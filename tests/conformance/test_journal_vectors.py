"""The reference reads from each journal vector exactly the half, the records and the state that the vector names."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from bootloader.reference.journal_half import Frame, HalfRead, read_journal
from bootloader.reference.records import Floors, KnownRecord, encode_record
from bootloader.reference.state import DeviceState, state_of
from tests.conformance.vectors import Entry, content, entries, name_of

READABLE = [entry for entry in entries("journals") if entry["expected"]["active_half"] is not None]
EMPTY = (None, Floors(), ())


def halves_of(entry: Entry) -> tuple[bytes, bytes]:
    """Both halves, erased behind what the files hold."""
    first, second = (b"" if file is None else content(file) for file in entry["halves"])
    size_bytes = entry["half_size_bytes"]
    return first.ljust(size_bytes, b"\xff"), second.ljust(size_bytes, b"\xff")


def active(entry: Entry) -> HalfRead:
    halves, index = read_journal(*halves_of(entry))
    assert index is not None
    half = halves[index]
    assert half is not None
    return half


def state(entry: Entry) -> DeviceState:
    return state_of(frame.record for frame in active(entry).frames)


def shown(frame: Frame) -> dict[str, Any]:
    return {
        "offset": frame.offset,
        "type": frame.record_type,
        "format": frame.record_format,
        "number": frame.number,
        "payload_sha256": hashlib.sha256(frame.payload).hexdigest(),
        "remains": True,
    }


@pytest.mark.parametrize("entry", entries("journals"), ids=name_of)
def test_active_half(entry: Entry) -> None:
    _, index = read_journal(*halves_of(entry))
    assert index == entry["expected"]["active_half"]


@pytest.mark.parametrize("entry", READABLE, ids=name_of)
def test_records_that_remain(entry: Entry) -> None:
    half, expected = active(entry), entry["expected"]
    assert half.half_sequence == expected["half_sequence"]
    # The reference leaves SEALs (13) out of what remains, as it has no more use for them.
    counting = [record for record in expected["records"] if record["remains"] and record["type"] != 13]
    assert [shown(frame) for frame in half.frames] == counting


@pytest.mark.parametrize("entry", READABLE, ids=name_of)
def test_end_and_settling(entry: Entry) -> None:
    half, expected = active(entry), entry["expected"]
    assert half.end == expected["end"]
    assert half.is_settled is expected["is_settled"]


def payload(record: KnownRecord) -> str:
    return encode_record(record)[2].hex()


@pytest.mark.parametrize("entry", READABLE, ids=name_of)
def test_state(entry: Entry) -> None:
    read, expected = state(entry), dict(entry["expected"]["state"])
    attempts = expected.pop("BOOT_TRIAL_ATTEMPTS", None)
    if read.boot_trial is not None:
        assert read.boot_trial.attempts == attempts
        trial = bytes.fromhex(expected.pop("BOOT_TRIAL"))
        assert (read.boot_trial.copy, read.boot_trial.head_hash) == (trial[0], trial[4:])
    assert read.application_is_confirmed is expected.pop("IMAGE_IS_CONFIRMED", False)
    assert read.application_attempts == expected.pop("IMAGE_ATTEMPTS", 0)
    single = {
        "DEVICE": read.device,
        "DEVICE_KEYS": read.keys,
        "GROUP_KEY": read.group_key,
        "TRUST_BUNDLE": read.trust_bundle,
        "FLOORS": read.floors,
        "BOOT_CONFIRMED": read.boot_confirmed,
        "INSTALLED": read.installed,
        "APP_TRIAL": read.app_trial,
        "APP_CONFIRMED": read.app_confirmed,
        "ACTIVATED": read.activated,
        "PENDING_GRANT": read.pending_grant,
        "SERVICE_STARTED": read.service_started,
    }
    found: dict[str, Any] = {name: payload(record) for name, record in single.items() if record not in EMPTY}
    found["INSTALL_STARTED"] = {str(int(record.region)): payload(record) for record in read.installs_started}
    found["EVENTS"] = [payload(record) for record in read.events]
    found["UNKNOWN"] = [
        [record.record_type, record.record_format, hashlib.sha256(record.body).hexdigest()] for record in read.unknown
    ]
    assert {name: value for name, value in found.items() if value} == expected


@pytest.mark.parametrize("entry", READABLE, ids=name_of)
def test_without_device_or_trust_bundle_there_is_no_state(entry: Entry) -> None:
    read = state(entry)
    is_complete = read.device is not None and read.trust_bundle is not None
    assert is_complete is (entry["expected"]["code"] == "OK")
