"""Faults on a real line: what is done to it, and what must hold afterwards (docs/spec/station.md, section 8)."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from provisioning.station.folder import ORDER_FILE, StationFolder
from provisioning.station.record_proofs import verify_proofs
from provisioning.station.records import SignedRecord, parse_record
from signer.device_objects.work_order import parse_work_order
from tests.stations.station_world import Fixture, padded

_CONSOLE_LINE = re.compile(rb"(?:\x06\x09|\x04\x14)([A-Za-z0-9+/]*)")
SEARCHED_KEYS = ("identity_private", "agreement_private", "group_private")


def require_promises(folder: Path, fixture: Fixture, uids: Sequence[str]) -> None:
    """No device OPERATIONAL without a record, none recorded twice, the quota exact, every proof verified."""
    from provisioning.station.ledger_file import LedgerFile

    opened = StationFolder(folder)
    order = parse_work_order(opened.content(ORDER_FILE))
    file = LedgerFile(opened.ledger_path)
    signed = [SignedRecord(parse_record(row.record), row.signature) for row in file.rows()]
    file.close()
    for item in signed:
        verify_proofs(item, order, opened.config.station_key)
    records = [item.record for item in signed]
    begun = [record for record in records if record.event.value == "begun"]
    assert [record.sequence for record in begun] == list(range(1, len(begun) + 1))
    assert len({record.uid for record in begun}) == len({record.identity_public_key for record in begun}) == len(begun)
    assert len(begun) <= order.order.stations[0].sub_quota
    digests = {record.activation_digest for record in records if record.activation is not None}
    activated = [record.uid for record in records if record.event.value == "activated"]
    assert len(set(activated)) == len(activated)
    for uid in uids:
        look = fixture.look(uid)
        if look["lifecycle"] == 0xA5:
            assert bytes.fromhex(look["activation_digest"]) in digests, uid
            assert padded(uid) in {record.uid for record in begun}
        if padded(uid) in activated:
            assert look["lifecycle"] == 0xA5, uid


def require_no_key_in_clear(fixture: Fixture, uids: Sequence[str], places: Sequence[Path]) -> None:
    """Search every file of the station, the token and the wire for the private keys of every board."""
    raw = fixture.frames.read_bytes()
    content = [raw, decoded(raw)]
    for place in places:
        content += [path.read_bytes() for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
    everything = b"".join(content)
    searched = 0
    for uid in uids:
        look = fixture.look(uid, secrets=True)
        for name in SEARCHED_KEYS:
            if look.get(name):
                assert not found(look[name], everything), f"{name} of {uid}"
                searched += 1
        if look["identity_public_key"] is not None:
            assert found(look["identity_public_key"], everything), "what is on the wire is found"
    assert searched


def found(key: str, everything: bytes) -> bool:
    """Whether a quarter of a scalar, or an eighth of a point, is there, in bytes or as hexadecimal digits.

    Parts, since frames and database pages may cut it.
    """
    value = bytes.fromhex(key)
    parts = [value[start : start + 8] for start in range(0, len(value), 8)]
    return any(part in everything or part.hex().encode() in everything for part in parts)


def decoded(frames: bytes) -> bytes:
    """What is in the console frames of serial lines (base64), wherever one begins."""
    parts = _CONSOLE_LINE.findall(frames)
    return b"".join(base64.b64decode(part[: len(part) - len(part) % 4]) for part in parts)
