"""Evidence by its offsets, and every way in which ledger and token can disagree: ST-20 to ST-23."""

from __future__ import annotations

import hashlib
import struct

import pytest

from pki.errors import FormatError, PolicyViolation, SignatureInvalid
from provisioning.station.evidence import Evidence, newest_evidence, parse_evidence, require_agreement
from tests.stations.paper_device import verifies
from tests.unit.log.software_key import SoftwareKey

ORDER_ID = bytes(range(1, 17))


@pytest.fixture(scope="module")
def key() -> SoftwareKey:
    return SoftwareKey()


def evidence(key: SoftwareKey, commit: int = 7, number: int = 9, head: bytes = b"\x05" * 32) -> Evidence:
    return Evidence(ORDER_ID, key.public_key.spki_sha256, commit, number, 4, 3, head)


def test_its_bytes_are_the_tables(key: SoftwareKey) -> None:
    data = evidence(key).signed(key)
    spki = key.public_key.spki
    unsigned = b"SRE1" + struct.pack("<HBB", 1, 1, 0) + ORDER_ID + hashlib.sha256(spki).digest()
    unsigned += struct.pack("<QQII", 7, 9, 4, 3) + b"\x05" * 32 + bytes(16)
    assert len(data) == 192
    assert data[:128] == unsigned
    assert verifies(key.public_key.point, b"SR-evidence-v1", unsigned, data[128:])
    assert parse_evidence(data, key.public_key) == evidence(key)


@pytest.mark.parametrize("offset", [0, 4, 6, 7, 112, 127])
def test_other_forms_are_refused(key: SoftwareKey, offset: int) -> None:
    data = bytearray(evidence(key).signed(key))
    data[offset] ^= 1
    with pytest.raises((FormatError, SignatureInvalid)):
        parse_evidence(bytes(data), key.public_key)


@pytest.mark.parametrize("offset", [8, 24, 56, 64, 72, 76, 80, 130])
def test_changed_evidence_is_refused(key: SoftwareKey, offset: int) -> None:
    data = bytearray(evidence(key).signed(key))
    data[offset] ^= 1
    with pytest.raises(SignatureInvalid):
        parse_evidence(bytes(data), key.public_key)


def test_the_newest_whole_one_of_this_station_and_order_counts(key: SoftwareKey) -> None:
    other = SoftwareKey()
    objects = (
        evidence(key, commit=6).signed(key),
        evidence(key, commit=7).signed(key),
        evidence(key, commit=9).signed(key)[:-1],
        Evidence(bytes(16), key.public_key.spki_sha256, 11, 9, 4, 3, bytes(32)).signed(key),
        Evidence(ORDER_ID, key.public_key.spki_sha256, 12, 9, 4, 3, bytes(32)).signed(other),
    )
    found = newest_evidence(objects, ORDER_ID, key.public_key)
    assert found is not None
    assert found.commit == 7
    assert newest_evidence((), ORDER_ID, key.public_key) is None


def test_evidence_and_ledger_agree(key: SoftwareKey) -> None:
    same = evidence(key)
    require_agreement(same, same, {9: same.head}, 2)


def test_a_ledger_one_commit_ahead_is_what_a_kill_leaves(key: SoftwareKey) -> None:
    before = evidence(key)
    require_agreement(evidence(key, commit=8, number=12, head=b"\x06" * 32), before, {9: before.head}, 3)


@pytest.mark.parametrize(
    ("rule", "commit", "number", "head", "newest_commit_size"),
    [
        ("ST-20", 6, 8, b"\x05" * 32, 1),
        ("ST-20", 0, 0, bytes(32), 0),
        ("ST-21", 9, 12, b"\x05" * 32, 1),
        ("ST-22", 7, 9, b"\x06" * 32, 1),
        ("ST-22", 7, 8, b"\x05" * 32, 1),
        ("ST-22", 8, 12, b"\x05" * 32, 2),
    ],
)
def test_every_disagreement_is_refused(
    key: SoftwareKey, rule: str, commit: int, number: int, head: bytes, newest_commit_size: int
) -> None:
    ledger = evidence(key, commit=commit, number=number, head=head)
    with pytest.raises(PolicyViolation, match=rule):
        require_agreement(ledger, evidence(key), {number: head}, newest_commit_size)


def test_no_evidence_at_all_is_refused(key: SoftwareKey) -> None:
    with pytest.raises(PolicyViolation, match="ST-23"):
        require_agreement(evidence(key), None, {}, 0)
