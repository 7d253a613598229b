"""What all signed objects of the line share: shape, digest, and who may sign (docs/spec/activation.md).

Each check raises Refused with the code that the specification names; the order of the checks is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.crypto import SIGNATURE_SIZE_BYTES, key_id, require_point, sha256, verify_signature
from bootloader.reference.trust_bundle import Role, TrustBundle

FORMAT_VERSION = 1
SUITE = 1
NONCE_SIZE_BYTES = 32

_MAGIC_SIZE_BYTES = 4
_PRINTABLE = range(0x20, 0x7F)


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """One kind of signed object. Its signature has the last 64 of its `size_bytes`, and covers all before them."""

    name: str
    magic: bytes
    context: bytes
    size_bytes: int

    @property
    def signature_offset(self) -> int:
        return self.size_bytes - SIGNATURE_SIZE_BYTES

    def digest(self, data: bytes) -> bytes:
        """What is signed, and what other objects call the digest of this one."""
        return sha256(self.context, data[: self.signature_offset])

    def signature(self, data: bytes) -> bytes:
        return data[self.signature_offset :]


# --- shape ---


def require_size(kind: ObjectKind, data: bytes) -> None:
    """Raises Refused(OBJECT_SIZE)."""
    right = len(data) == kind.size_bytes
    require(right, DeviceCode.OBJECT_SIZE, f"a {kind.name} has {kind.size_bytes:,} bytes, not {len(data):,}")


def require_format(kind: ObjectKind, data: bytes) -> None:
    """Magic, then version and suite, at the start of an object; raises Refused(OBJECT_MAGIC or OBJECT_FORMAT)."""
    known = data.startswith(kind.magic)
    require(known, DeviceCode.OBJECT_MAGIC, f"a {kind.name} begins with {kind.magic.decode('ascii')}")
    version, suite = int.from_bytes(data[_MAGIC_SIZE_BYTES:6], "little"), data[6]
    detail = f"format version {version} with suite {suite} is not known"
    require(version == FORMAT_VERSION and suite == SUITE, DeviceCode.OBJECT_FORMAT, detail)


def require_zero(parts: Iterable[bytes]) -> None:
    """Reserved and unused bytes; raises Refused(OBJECT_RESERVED)."""
    require(not any(map(any, parts)), DeviceCode.OBJECT_RESERVED, "a reserved or unused byte is not zero")


def require_known_flags(name: str, flags: int, known: int) -> None:
    """Raises Refused(OBJECT_RESERVED) for a flag that this version does not know."""
    require(flags & ~known == 0, DeviceCode.OBJECT_RESERVED, f"{name} has an unknown flag")


def require_field(condition: bool, detail: str) -> None:
    """One rule of an object's table; raises Refused(OBJECT_FIELD)."""
    require(condition, DeviceCode.OBJECT_FIELD, detail)


def require_curve_point(name: str, point: bytes) -> None:
    """Raises Refused(OBJECT_FIELD) unless the point, X ‖ Y, is one of the curve."""
    require_point(point, DeviceCode.OBJECT_FIELD, f"{name} is not a point of the curve")


def is_text(data: bytes) -> bool:
    """Whether a text field is printable ASCII, padded with 0x00 at its end and only there; it may be empty."""
    return all(octet in _PRINTABLE for octet in data.rstrip(b"\0"))


# --- signers ---


def require_signer(bundle: TrustBundle, role: Role, signer_key_id: bytes, digest: bytes, signature: bytes) -> None:
    """A current key of this role signed; raises Refused(SIGNER_REVOKED, SIGNER_UNKNOWN or SIGNATURE_INVALID)."""
    require_not_revoked(bundle, signer_key_id)
    named = [key for key in bundle.keys_of(role) if key_id(key) == signer_key_id]
    if len(named) != 1:  # an id that named two keys would name none
        raise Refused(DeviceCode.SIGNER_UNKNOWN, f"{signer_key_id.hex()} is no current key of the role {role.name}")
    verify_signature(named[0], digest, signature)


def require_not_revoked(bundle: TrustBundle, signer_key_id: bytes) -> None:
    """Raises Refused(SIGNER_REVOKED)."""
    revoked = bundle.is_revoked(signer_key_id)
    require(not revoked, DeviceCode.SIGNER_REVOKED, f"the key {signer_key_id.hex()} is revoked")
