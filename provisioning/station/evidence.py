"""Evidence on the token of how far a ledger is (`SRE1`, docs/spec/station.md), and what it proves at a start.

The ledger commits first, then the evidence is written, and only then anything leaves for a device. So a ledger behind
its evidence was put back, and evidence more than one commit behind its ledger was.
"""

from __future__ import annotations

import struct
from typing import Protocol

import msgspec

from pki.errors import FormatError, SignatureInvalid
from pki.values import Digest, PublicKey, Signature
from provisioning.station.rules import Rule, refused
from signer.signing_key import SigningKey, sign_verified, verify_signature

EVIDENCE_SIZE_BYTES = 192
_CONTEXT = b"SR-evidence-v1".ljust(16, b"\0")
_FIELDS = struct.Struct("<4sHBx16s32sQQII32s16x")
_MAGIC = b"SRE1"
_VERSION = 1
_SUITE = 1
OBJECTS_MAX = 64
"""Evidence objects that are looked at: one, or two after a cut; more are not ours."""


class Evidence(msgspec.Struct, frozen=True):
    """How far the ledger of one order at one station is. `commit` counts its transactions, `number` its records."""

    order_id: bytes
    station: bytes
    commit: int
    number: int
    begun: int
    activated: int
    head: bytes

    def encode_unsigned(self) -> bytes:
        """The 128 bytes that are signed."""
        return _FIELDS.pack(
            _MAGIC,
            _VERSION,
            _SUITE,
            self.order_id,
            self.station,
            self.commit,
            self.number,
            self.begun,
            self.activated,
            self.head,
        )

    def signed(self, key: SigningKey) -> bytes:
        """192 bytes, signed by the station's key."""
        unsigned = self.encode_unsigned()
        return unsigned + sign_verified(key, Digest.of(_CONTEXT, unsigned)).value


class EvidenceStore(Protocol):
    """Where the evidence of an order is kept: private data objects of the station's token."""

    def read(self, order_id: bytes) -> tuple[bytes, ...]:
        """Everything that is kept for the order; a cut may leave two objects, or one that is torn."""

    def replace(self, order_id: bytes, data: bytes) -> None:
        """Keep this from now on: it is on the token before what was there goes."""


def parse_evidence(data: bytes, station_key: PublicKey) -> Evidence:
    """Read and verify one object. Raises FormatError, SignatureInvalid."""
    if len(data) != EVIDENCE_SIZE_BYTES:
        raise FormatError("evidence", 0, f"has {len(data)} bytes, not {EVIDENCE_SIZE_BYTES}")
    unsigned, signature = data[:-64], Signature(data[-64:])
    magic, version, suite, *values = _FIELDS.unpack(unsigned)
    evidence = Evidence(*values)
    if (magic, version, suite) != (_MAGIC, _VERSION, _SUITE) or evidence.encode_unsigned() != unsigned:
        raise FormatError("evidence", 0, "is no evidence of this version")
    verify_signature(station_key, Digest.of(_CONTEXT, unsigned), signature)
    return evidence


def newest_evidence(objects: tuple[bytes, ...], order_id: bytes, station_key: PublicKey) -> Evidence | None:
    """The newest that is whole and this station's, for this order; None if there is none."""
    found: list[Evidence] = []
    for data in objects[:OBJECTS_MAX]:
        try:
            evidence = parse_evidence(data, station_key)
        except (FormatError, SignatureInvalid):
            continue
        if (evidence.order_id, evidence.station) == (order_id, station_key.spki_sha256):
            found.append(evidence)
    return max(found, key=lambda evidence: evidence.commit, default=None)


def require_agreement(
    ledger: Evidence, evidence: Evidence | None, head_at: dict[int, bytes], newest_commit_size: int
) -> None:
    """Compare what the ledger says of itself with the evidence. `head_at` maps a number to that record's hash.

    Raises PolicyViolation ST-20 to ST-23. A ledger one commit ahead is what a kill between the two leaves.
    """
    if evidence is None:
        raise refused(
            Rule.NO_EVIDENCE,
            "the token has no evidence of this order's ledger: it is another token, or was emptied; use the station's "
            "own, or have a new order made for the devices that are left",
        )
    if ledger.commit < evidence.commit:
        raise refused(
            Rule.LEDGER_BEHIND,
            f"the ledger has {ledger.number} records, and the token has evidence of {evidence.number}: the ledger was "
            "put back; `strongroom station restore --births` adds the records that are missing, if they were exported",
        )
    if ledger.commit > evidence.commit + 1:
        raise refused(
            Rule.EVIDENCE_BEHIND,
            f"the ledger has {ledger.number} records, and the token has evidence of {evidence.number} only: the token "
            "was put back to an older state; use the station's own token",
        )
    expected = ledger.number - (newest_commit_size if ledger.commit > evidence.commit else 0)
    if evidence.number != expected or head_at.get(evidence.number) != evidence.head:
        raise refused(
            Rule.LEDGER_DIFFERS,
            f"the ledger's record {evidence.number} is not the one that the token has evidence of: the ledger was "
            "replaced or changed; restore the station's own backup",
        )
