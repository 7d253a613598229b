"""A production line in software: maker, stations and devices that write what the specifications say, byte by byte.

Written from docs/spec/birth-record.md, activation.md and signed-status.md, apart from the station's own code, so that
the registry is judged by a second reading of them.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from pki import x509_profiles as profiles
from pki.values import Digest, PublicKey, Signature
from pki.x509_certificates import CertificatePlan, issue_certificate, issue_root_certificate
from pki.x509_names import DistinguishedName
from provisioning.registry.trust import ProductKeys, Trust

NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
PRODUCT = bytes.fromhex("6f1c2e3a4b5d4c7e8f90a1b2c3d4e5f6")
ORDER = bytes.fromhex("0a1b2c3d4e5f40718293a4b5c6d7e8f9")
LOT = "2026-48"
OPERATIONAL, LOCKED, RMA, DECOMMISSIONED = 0xA5, 0x3C, 0x66, 0x99
_DIGEST = ec.ECDSA(Prehashed(hashes.SHA256()))
_ORGANIZATION = "Example Devices"
_OPTIONAL = (
    *("identity_public_key", "sequence", "serial", "protection", "trust_bundle_version", "made_agreement_public_key"),
    *("agreement_public_key", "certificate", "activation", "activation_digest", "receipt", "status_nonce"),
    *("signed_status", "reason"),
)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def named(context: str) -> bytes:
    return context.encode().ljust(16, b"\0")


def text(value: str, size_bytes: int) -> bytes:
    return value.encode("ascii").ljust(size_bytes, b"\0")


@dataclass(frozen=True)
class Key:
    """A software key."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls) -> Key:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @cached_property
    def public(self) -> PublicKey:
        numbers = self.private.public_key().public_numbers()
        return PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))

    @property
    def point(self) -> bytes:
        return self.public.point

    def sign_digest(self, digest: bytes) -> bytes:
        r, s = decode_dss_signature(self.private.sign(digest, _DIGEST))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def sign(self, digest: Digest) -> Signature:
        return Signature(self.sign_digest(digest.value))

    def sign_object(self, context: str, unsigned: bytes) -> bytes:
        return unsigned + self.sign_digest(sha256(named(context), unsigned))


@dataclass
class Authority:
    """CA certificates: root, production CA, lot CA."""

    root: Key
    production: Key
    lot: Key
    chain: tuple[bytes, bytes, bytes]

    @classmethod
    def new(cls, entropy: random.Random, at: datetime) -> Authority:
        root, production, lot = Key.new(), Key.new(), Key.new()

        def plan(profile: profiles.CertificateProfile, name: str, key: Key, days: int) -> CertificatePlan:
            subject = DistinguishedName(organization=_ORGANIZATION, common_name=name)
            return CertificatePlan(profile, subject, key.public, entropy.randbytes(20), at, days)

        root_der = issue_root_certificate(plan(profiles.ROOT_CA, "Root CA", root, 9000), root.sign, at)
        production_der = issue_certificate(
            plan(profiles.PRODUCTION_CA, "Production CA", production, 8000), root_der, root.sign, at
        )
        lot_der = issue_certificate(plan(profiles.LOT_CA, "Lot CA", lot, 3000), production_der, production.sign, at)
        return cls(root, production, lot, (lot_der, production_der, root_der))


@dataclass
class Board:
    """A device with keys it made."""

    uid: bytes
    identity: Key
    agreement: Key
    serial: str = ""

    @classmethod
    def new(cls, number: int, serial: str = "") -> Board:
        return cls(number.to_bytes(12, "big").ljust(16, b"\0"), Key.new(), Key.new(), serial)

    def status(self, nonce: bytes, **fields: Any) -> bytes:
        """A signed status (docs/spec/signed-status.md); fields that are not given are an operational device's."""
        values: dict[str, Any] = {
            "runs": 1,
            "uid": self.uid,
            "product_id": PRODUCT,
            "hardware_revision": 3,
            "lifecycle": OPERATIONAL,
            "lot": LOT,
            "protection": 0x1D,
            "bootloader_version": (1, 0, 0, 7),
            "application": None,
            "trust_bundle_version": 1,
            "trust_bundle_digest": sha256(b"bundle 1"),
            "order_id": ORDER,
            "activation_digest": bytes(32),
            "certificate_digest": bytes(32),
            "event_count": 1,
        } | fields
        data = bytearray(512)
        struct.pack_into("<4sHBB16s32s16sHBB16sH", data, 0, b"SRS1", 1, 1, values["runs"], values["uid"], nonce,
                         values["product_id"], values["hardware_revision"], values["lifecycle"], 0,
                         text(values["lot"], 16), values["protection"])  # fmt: skip
        struct.pack_into("<BBHI", data, 96, *values["bootloader_version"])
        struct.pack_into("<BBHI", data, 104, *values["bootloader_version"])
        if values["application"] is not None:
            version, security_version, head_hash = values["application"]
            data[120:122] = b"\x01\x02"
            struct.pack_into("<BBHII32s", data, 124, *version, security_version, head_hash)
        struct.pack_into("<I32s16s32s32s", data, 212, values["trust_bundle_version"], values["trust_bundle_digest"],
                         values["order_id"], values["activation_digest"], values["certificate_digest"])  # fmt: skip
        struct.pack_into("<I", data, 364, values["event_count"])
        data[380:412] = text(self.serial, 32)
        data[444:452] = self.identity.public.key_id
        data[452:460] = self.agreement.public.key_id
        return self.identity.sign_object("SR-status-v1", bytes(data))

    def receipt(self, digest: bytes, nonce: bytes, lifecycle: int = OPERATIONAL, agreement: bytes = b"") -> bytes:
        unsigned = struct.pack(
            "<4sHBB16s32s32s64s64sH2xI32x", b"SRR1", 1, 1, lifecycle, self.uid, nonce, digest,
            self.identity.point, agreement or self.agreement.point, 0x1D, 1,
        )  # fmt: skip
        return self.identity.sign_object("SR-receipt-v1", unsigned)


@dataclass
class Line:
    """The maker: keys, CAs, and the orders it signs."""

    entropy: random.Random
    production: Key
    service: Key
    grant: Key
    lot: Key
    authority: Authority

    @classmethod
    def new(cls, seed: int) -> Line:
        entropy = random.Random(seed)
        authority = Authority.new(entropy, NOW - timedelta(days=30))
        return cls(entropy, Key.new(), Key.new(), Key.new(), Key.new(), authority)

    @property
    def trust(self) -> Trust:
        keys = ProductKeys((self.production.public,), (self.service.public,), (self.grant.public,))
        return Trust({PRODUCT: keys}, self.authority.chain)

    def order(self, stations: dict[Key, int], quota: int | None = None, **fields: Any) -> bytes:
        """A signed work order (docs/spec/activation.md, section 2)."""
        values: dict[str, Any] = {
            "inject": 0,
            "order_id": ORDER,
            "product_id": PRODUCT,
            "lot": LOT,
            "trust_bundle_version_min": 1,
            "not_before": int((NOW - timedelta(days=10)).timestamp()),
            "not_after": int((NOW + timedelta(days=10)).timestamp()),
            "protection_required": 0x0D,
            "hardware_revision_min": 1,
            "hardware_revision_max": 5,
            "group_public_key": bytes(64),
            "issuing_ca": self.authority.lot.public.spki_sha256,
        } | fields
        entries = sorted((key.public.spki_sha256, count) for key, count in stations.items())
        unsigned = struct.pack(
            "<4sHBB16s16s16sIIQQHHHBx64s64s32s288s8s32x", b"SRW1", 1, 1, values["inject"], values["order_id"],
            values["product_id"], text(values["lot"], 16), quota or sum(stations.values()),
            values["trust_bundle_version_min"], values["not_before"], values["not_after"],
            values["protection_required"], values["hardware_revision_min"], values["hardware_revision_max"],
            len(entries), self.lot.point, values["group_public_key"], values["issuing_ca"],
            b"".join(fingerprint + count.to_bytes(4, "little") for fingerprint, count in entries),
            self.production.public.key_id,
        )  # fmt: skip
        return self.production.sign_object("SR-order-v1", unsigned)

    def certificate(self, board: Board, at: datetime) -> bytes:
        serial = board.serial or board.uid.hex()
        name = f"uid:{board.uid.hex()}"
        subject = DistinguishedName(organization=_ORGANIZATION, common_name=name, serial_number=serial)
        plan = CertificatePlan(
            profiles.DEVICE_IDENTITY,
            subject,
            board.identity.public,
            self.entropy.randbytes(20),
            at,
            None,
            "1.3.6.1.4.1.99999.1",
        )
        return issue_certificate(plan, self.authority.chain[0], self.authority.lot.sign, at)


@dataclass
class Station:
    """Writes a ledger. Each method appends a record and returns its fields."""

    line: Line
    key: Key
    order: bytes
    at: datetime = NOW - timedelta(days=1)
    begun: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    latest: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    boards: dict[int, Board] = field(default_factory=dict)
    """By the number of the record in which each came last."""

    @property
    def order_digest(self) -> bytes:
        return sha256(named("SR-order-v1"), self.order[:576])

    def copy(self) -> Station:
        """The same ledger, to be continued otherwise."""
        return replace(
            self,
            records=[dict(record) for record in self.records],
            latest={uid: dict(issued) for uid, issued in self.latest.items()},
            boards=dict(self.boards),
        )

    def append(self, event: str, board: Board, **fields: Any) -> dict[str, Any]:
        previous = canonical(self.records[-1]) if self.records else None
        record: dict[str, Any] = dict.fromkeys(_OPTIONAL)
        record |= {
            "type": "strongroom-birth-record-1",
            "order_id": self.order[8:24],
            "order_digest": self.order_digest,
            "station": self.key.public.spki_sha256,
            "number": len(self.records) + 1,
            "previous": bytes(32) if previous is None else sha256(previous),
            "at": self.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "event": event,
            "uid": board.uid,
            "product_id": self.order[24:40],
            "lot": self.order[40:56].rstrip(b"\0").decode(),
            "hardware_revision": 3,
        }
        record |= fields
        self.records.append(record)
        self.boards[len(self.records)] = board
        return record

    def change(self, number: int, **fields: Any) -> None:
        """Write other things into a record, and chain those behind it anew, as a dishonest station would."""
        self.records[number - 1].update(fields)
        for before, record in pairwise(self.records):
            record["previous"] = sha256(canonical(before))

    def activation(self, board: Board, sequence: int, certificate: bytes, bundle: int, **fields: Any) -> bytes:
        values: dict[str, Any] = {
            "injected": self.order[7],
            "group_key": bytes(224),
            "agreement_key": bytes(288),
            "nonce": self.line.entropy.randbytes(32),
        } | fields
        unsigned = struct.pack(
            "<4sHBB16s32s32s32sII32s32s32s32s224s288s32x", b"SRA1", 1, 1, values["injected"], board.uid,
            values["nonce"], self.order_digest, self.key.public.spki_sha256, sequence, bundle,
            sha256(board.identity.point), sha256(board.agreement.point), sha256(certificate), text(board.serial, 32),
            values["group_key"], values["agreement_key"],
        )  # fmt: skip
        return self.line.lot.sign_object("SR-activate-v1", unsigned)

    def _issued(
        self, board: Board, sequence: int, certificate: bytes, activation: bytes, bundle: int
    ) -> dict[str, Any]:
        injected = activation[480:544] if activation[7] & 2 else b""
        return {
            "identity_public_key": board.identity.point,
            "sequence": sequence,
            "serial": board.serial,
            "protection": 0x1D,
            "trust_bundle_version": bundle,
            "made_agreement_public_key": board.agreement.point,
            "agreement_public_key": injected or board.agreement.point,
            "certificate": certificate,
            "activation": activation,
            "activation_digest": sha256(named("SR-activate-v1"), activation[:800]),
        }

    def begin(
        self, board: Board, *, bundle: int = 1, keys: dict[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any]:
        self.begun += 1
        certificate = self.line.certificate(board, self.at)
        signed = self.activation(board, self.begun, certificate, bundle, **(keys or {}))
        issued = self._issued(board, self.begun, certificate, signed, bundle)
        self.latest[board.uid] = issued
        return self.append("begun", board, **issued | fields)

    def renew(self, board: Board, **fields: Any) -> dict[str, Any]:
        before = self.latest[board.uid]
        bundle = before["trust_bundle_version"]
        signed = self.activation(board, before["sequence"], before["certificate"], bundle)
        issued = self._issued(board, before["sequence"], before["certificate"], signed, bundle)
        self.latest[board.uid] = issued
        return self.append("renewed", board, **issued | fields)

    def activate(
        self, board: Board, *, receipt: bool = True, status: dict[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any]:
        issued = self.latest[board.uid]
        nonce = self.line.entropy.randbytes(32)
        digest = issued["activation_digest"]
        said = {"activation_digest": digest, "certificate_digest": sha256(issued["certificate"])}
        said |= {"trust_bundle_version": issued["trust_bundle_version"], "order_id": self.order[8:24]}
        said |= {"product_id": self.order[24:40], "lot": self.order[40:56].rstrip(b"\0").decode()}
        agreement = issued["agreement_public_key"]
        kept = ("identity_public_key", "sequence", "serial", "protection", "trust_bundle_version")
        values = {name: issued[name] for name in (*kept, "agreement_public_key", "activation_digest")}
        values |= {
            "receipt": board.receipt(digest, issued["activation"][24:56], agreement=agreement) if receipt else None,
            "status_nonce": nonce,
            "signed_status": board.status(nonce, **said | (status or {})),
        }
        return self.append("activated", board, **values | fields)

    def fail(self, board: Board, reason: str = "ST-48", event: str = "failed", **fields: Any) -> dict[str, Any]:
        issued = self.latest.get(board.uid, {})
        named_before = ("identity_public_key", "sequence", "serial", "activation_digest")
        said = {name: issued.get(name) for name in named_before}
        return self.append(event, board, **said | {"reason": reason} | fields)

    def scrap(self, board: Board, reason: str = "cracked", **fields: Any) -> dict[str, Any]:
        return self.fail(board, reason, "scrapped", **fields)

    def make(self, board: Board) -> None:
        """Begun and activated."""
        self.begin(board)
        self.activate(board)

    def file(self, first: int = 1, last: int | None = None, **end: Any) -> bytes:
        """The export of the records from `first` to `last`."""
        wanted = self.records[first - 1 : last]
        head = {
            "format": "strongroom-births-1",
            "order": self.order,
            "station_public_key": self.key.point,
            "first_number": first,
            "count": len(wanted),
        }
        lines = [canonical(head)]
        newest = canonical(self.records[first - 2]) if first > 1 else None
        for record in wanted:
            newest = canonical(record)
            signature = self.key.sign_digest(sha256(named("SR-birth-v1"), newest))
            lines.append(canonical({"record": newest.decode(), "signature": signature}))
        closing = {
            "format": "strongroom-births-end-1",
            "number": first + len(wanted) - 1,
            "head": bytes(32) if newest is None else sha256(newest),
            "evidence_commit": first + len(wanted),
            "at": self.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        } | end
        signature = self.key.sign_digest(sha256(named("SR-births-v1"), canonical(closing)))
        lines.append(canonical(closing | {"signature": signature}))
        return b"".join(one + b"\n" for one in lines)


def canonical(value: dict[str, Any]) -> bytes:
    """RFC 8785 for what records hold: ASCII names, text, integers; bytes as lower-case hexadecimal digits."""
    plain = {name: item.hex() if isinstance(item, bytes) else item for name, item in value.items()}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
