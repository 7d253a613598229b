"""The signed objects of `docs/spec/activation.md`, `service-order.md` and `signed-status.md`, packed by their tables.

Nothing is checked here: a vector that must be refused is made by asking for the wrong value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.vectors.generator import p256
from tests.vectors.generator.keys import TestKey
from tests.vectors.generator.package import Value, laid_over, pack
from tests.vectors.generator.primitives import context, hkdf_sha256, hmac_sha256, sha256

# name, offset, size in bytes. Reserved bytes have no name: a case lays wrong ones over.
Layout = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """One table of the specification."""

    name: str
    sign_context: str
    size_bytes: int
    fields: Layout

    @property
    def signature_offset(self) -> int:
        """Where the signature stands: it covers everything before it."""
        return self.size_bytes - 64

    def digest(self, data: bytes) -> bytes:
        """SHA-256( context ‖ object[0 : offset of its signature] )."""
        return sha256(context(self.sign_context), data[: self.signature_offset])


_START: Layout = (("magic", 0, 4), ("format_version", 4, 2), ("suite", 6, 1))

CHALLENGE = Kind(
    "challenge",
    "SR-challenge-v1",
    512,
    (
        *_START,
        ("lifecycle", 7, 1),
        ("uid", 8, 16),
        ("product_id", 24, 16),
        ("lot", 40, 16),
        ("hardware_revision", 56, 2),
        ("protection", 58, 2),
        ("trust_bundle_version", 60, 4),
        ("nonce", 64, 32),
        ("host_ephemeral", 96, 64),
        ("identity_public_key", 160, 64),
        ("agreement_public_key", 224, 64),
        ("agreement_proof", 288, 32),
        ("trust_bundle_digest", 320, 32),
        ("order_id", 352, 16),
        ("activation_digest", 368, 32),
        ("flags", 400, 1),
    ),
)
STATION_COUNT_MAX = 8
WORK_ORDER = Kind(
    "work-order",
    "SR-order-v1",
    640,
    (
        *_START,
        ("inject", 7, 1),
        ("order_id", 8, 16),
        ("product_id", 24, 16),
        ("lot", 40, 16),
        ("quota", 56, 4),
        ("trust_bundle_version_min", 60, 4),
        ("not_before", 64, 8),
        ("not_after", 72, 8),
        ("protection_required", 80, 2),
        ("hardware_revision_min", 82, 2),
        ("hardware_revision_max", 84, 2),
        ("station_count", 86, 1),
        ("lot_public_key", 88, 64),
        ("group_public_key", 152, 64),
        ("issuing_ca", 216, 32),
        ("stations", 248, STATION_COUNT_MAX * 36),
        ("signer_key_id", 536, 8),
    ),
)
ACTIVATION = Kind(
    "activation",
    "SR-activate-v1",
    864,
    (
        *_START,
        ("injected", 7, 1),
        ("uid", 8, 16),
        ("nonce", 24, 32),
        ("order_digest", 56, 32),
        ("station", 88, 32),
        ("sequence", 120, 4),
        ("trust_bundle_version", 124, 4),
        ("identity_key_digest", 128, 32),
        ("agreement_key_digest", 160, 32),
        ("certificate_digest", 192, 32),
        ("serial", 224, 32),
        ("group_key", 256, 224),
        ("agreement_key", 480, 288),
    ),
)
RECEIPT = Kind(
    "receipt",
    "SR-receipt-v1",
    320,
    (
        *_START,
        ("lifecycle", 7, 1),
        ("uid", 8, 16),
        ("nonce", 24, 32),
        ("object_digest", 56, 32),
        ("identity_public_key", 88, 64),
        ("agreement_public_key", 152, 64),
        ("protection", 216, 2),
        ("trust_bundle_version", 220, 4),
    ),
)
SERVICE_ORDER = Kind(
    "service-order",
    "SR-service-v1",
    256,
    (
        *_START,
        ("action", 7, 1),
        ("uid", 8, 16),
        ("nonce", 24, 32),
        ("product_id", 56, 16),
        ("lot", 72, 16),
        ("hardware_revision", 88, 2),
        ("floors", 92, 12),
        ("signer_key_id", 104, 8),
    ),
)
STATUS = Kind(
    "signed-status",
    "SR-status-v1",
    576,
    (
        *_START,
        ("runs", 7, 1),
        ("uid", 8, 16),
        ("nonce", 24, 32),
        ("product_id", 56, 16),
        ("hardware_revision", 72, 2),
        ("lifecycle", 74, 1),
        ("flags", 75, 1),
        ("lot", 76, 16),
        ("protection", 92, 2),
        ("running_copy", 94, 1),
        ("copies", 95, 1),
        ("bootloader_version_a", 96, 8),
        ("bootloader_version_b", 104, 8),
        ("bootloader_security_version_a", 112, 4),
        ("bootloader_security_version_b", 116, 4),
        ("installed_type", 120, 1),
        ("application_state", 121, 1),
        ("application_attempts", 122, 1),
        ("application_version", 124, 8),
        ("application_security_version", 132, 4),
        ("application_head_hash", 136, 32),
        ("application_upload_hash", 168, 32),
        ("floors", 200, 12),
        ("trust_bundle_version", 212, 4),
        ("trust_bundle_digest", 216, 32),
        ("order_id", 248, 16),
        ("activation_digest", 264, 32),
        ("certificate_digest", 296, 32),
        ("grant_head_hash", 328, 32),
        ("update_mode_code", 360, 2),
        ("event_count", 364, 4),
        ("journal_free_bytes", 368, 4),
        ("upload_offset_bytes", 372, 4),
        ("upload_size_bytes", 376, 4),
        ("serial", 380, 32),
        ("board", 412, 32),
        ("identity_key_id", 444, 8),
        ("agreement_key_id", 452, 8),
        ("group_key_id", 460, 8),
    ),
)
MAGICS = {
    CHALLENGE.name: b"SRC1",
    WORK_ORDER.name: b"SRW1",
    ACTIVATION.name: b"SRA1",
    RECEIPT.name: b"SRR1",
    SERVICE_ORDER.name: b"SRV1",
    STATUS.name: b"SRS1",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What one object is made from; `raw` is laid over before signing. Without a signer the signature is zero."""

    kind: Kind
    values: Mapping[str, Value]
    signer: TestKey | None
    sign_context: str | None = None
    raw: tuple[tuple[int, bytes], ...] = field(default=())
    signature: bytes | None = None  # this one instead of a computed one

    def having(self, **values: Value) -> Plan:
        """The plan with other values."""
        return Plan(self.kind, {**self.values, **values}, self.signer, self.sign_context, self.raw, self.signature)

    def signed_by(self, signer: TestKey | None, sign_context: str | None = None) -> Plan:
        """The plan with another signer, or in another context."""
        return Plan(self.kind, self.values, signer, sign_context, self.raw)

    def with_signature(self, signature: bytes) -> Plan:
        """The plan with a signature that nobody computed."""
        return Plan(self.kind, self.values, self.signer, None, self.raw, signature)

    def over(self, offset: int, patch: bytes) -> Plan:
        """The plan with bytes laid over, and signed so."""
        return Plan(self.kind, self.values, self.signer, self.sign_context, (*self.raw, (offset, patch)))

    def make(self) -> bytes:
        """The object."""
        kind = self.kind
        data = bytes(kind.size_bytes)
        start: dict[str, Value] = {"magic": MAGICS[kind.name], "format_version": 1, "suite": 1}
        values: dict[str, Value] = {**start, **self.values}
        for name, offset, size_bytes in kind.fields:
            data = laid_over(data, offset, pack(values.pop(name, bytes(size_bytes)), size_bytes))
        if values:
            raise ValueError(f"{kind.name}: no such fields: {sorted(values)}")
        for offset, patch in self.raw:
            data = laid_over(data, offset, patch)
        return laid_over(data, kind.signature_offset, self._signature(data))

    def _signature(self, data: bytes) -> bytes:
        if self.signature is not None:
            return self.signature
        if self.signer is None:
            return bytes(64)
        sign_context = self.sign_context or self.kind.sign_context
        digest = sha256(context(sign_context), data[: self.kind.signature_offset])
        return p256.sign(self.signer.private, digest)


def text(value: str, size_bytes: int) -> bytes:
    """A text field: printable ASCII, padded with 0x00 at its end."""
    return value.encode("ascii").ljust(size_bytes, b"\0")


def agreement_proof(agreement_private: int, host_ephemeral: bytes, front: bytes) -> bytes:
    """`agreement_proof` of a challenge, section 1, whose bytes 0 to 287 are `front`."""
    label = context("SR-agree-pop-v1")
    agreement_public = p256.public_key(agreement_private)
    shared = p256.ecdh(agreement_private, host_ephemeral)
    return hmac_sha256(hkdf_sha256(shared, label + host_ephemeral + agreement_public, 32), label + front)
