"""What work orders, activations and service orders share: digest, text, flags, and the strict way they are read.

Formats: docs/spec/activation.md, docs/spec/service-order.md. All errors are FormatError or PolicyViolation (WO-…).
"""

from __future__ import annotations

from enum import IntFlag

from pki.errors import FormatError, InputRefused, PolicyViolation, SignatureInvalid
from pki.values import Digest, PublicKey, Signature
from signer.packages.layout import context
from signer.signing_key import require_on_curve, verify_signature

FORMAT_VERSION = 1
SUITE = 1
SIGNATURE_SIZE_BYTES = 64
LOT_SIZE_BYTES = 16
KEY_ID_SIZE_BYTES = 8
PRODUCT_ID_SIZE_BYTES = 16
FINGERPRINT_SIZE_BYTES = 32
NONCE_SIZE_BYTES = 32
NO_SIGNATURE = bytes(SIGNATURE_SIZE_BYTES)
U16_MAX = (1 << 16) - 1
U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1


class Protection(IntFlag):
    """What a device's option bytes say (docs/spec/activation.md, section 5)."""

    READOUT = 1 << 0
    READOUT_LEVEL_2 = 1 << 1
    PRE_BOOTLOADER_WRITE_PROTECTED = 1 << 2
    BROWN_OUT_LEVEL = 1 << 3
    DEBUG_CLOSED = 1 << 4


class Injection(IntFlag):
    """Which keys a station puts into a device (the order's `inject`, the activation's `injected`)."""

    GROUP_KEY = 1 << 0
    AGREEMENT_KEY = 1 << 1


def known_flags(kind: type[IntFlag]) -> int:
    """Every bit that has a meaning."""
    return sum(flag.value for flag in kind)


def refused(rule_id: str, reason: str) -> PolicyViolation:
    """A value that no such object may carry; `reason` is one line that says what to do."""
    return PolicyViolation(rule_id, reason)


def require_range(rule_id: str, what: str, value: int, lowest: int, highest: int) -> None:
    """Refuse an integer outside its field."""
    if type(value) is not int and not isinstance(value, IntFlag):
        raise refused(rule_id, f"{what} must be a whole number")
    if not lowest <= value <= highest:
        raise refused(rule_id, f"{what} is {int(value)}; it must be {lowest} to {highest}")


def require_bytes(rule_id: str, what: str, value: bytes, size_bytes: int) -> None:
    """Refuse a field of another size."""
    if len(value) != size_bytes:
        raise refused(rule_id, f"{what} has {len(value)} bytes; it must have {size_bytes}")


def require_present(rule_id: str, what: str, value: bytes, size_bytes: int) -> None:
    """Refuse a field of another size, or all zero."""
    require_bytes(rule_id, what, value, size_bytes)
    if not any(value):
        raise refused(rule_id, f"{what} is zero; name one")


def require_point(rule_id: str, what: str, key: PublicKey) -> None:
    """Refuse a key that is no point of P-256."""
    try:
        require_on_curve(key, what)
    except InputRefused as error:
        raise refused(rule_id, str(error)) from None


def encode_text(rule_id: str, what: str, text: str, size_bytes: int) -> bytes:
    """Printable ASCII, padded with 0x00; empty text is all zero. Refuses anything else, and what is too long."""
    if len(text) > size_bytes or not (text.isascii() and (text.isprintable() or not text)):
        raise refused(rule_id, f"{what} {text!r}: give at most {size_bytes} printable ASCII characters")
    return text.encode("ascii").ljust(size_bytes, b"\0")


def decode_text(field: bytes) -> str:
    """The text of a padded field; ValueError for what `encode_text` would not write."""
    text = field.rstrip(b"\0")
    if any(not 0x20 <= byte <= 0x7E for byte in text):
        raise ValueError("a text field that is not printable ASCII, padded at its end")
    return text.decode("ascii")


def object_digest(name: str, unsigned: bytes) -> Digest:
    """SHA-256 over the context of the object's type and everything before its signature: what is signed."""
    return Digest.of(context(name), unsigned)


def split(data: bytes, what: str, magic: bytes, size_bytes: int) -> tuple[bytes, bytes]:
    """Everything before the signature, and the signature. Raises FormatError for another size, magic or version."""
    if len(data) != size_bytes:
        raise FormatError(what, 0, f"exactly {size_bytes} bytes expected, not {len(data)}")
    if data[:4] != magic:
        raise FormatError("magic", 0, f"not a {what}")
    if data[4:6] != FORMAT_VERSION.to_bytes(2, "little") or data[6] != SUITE:
        raise FormatError("format_version", 4, "made by another version of Strongroom; use that one")
    return data[:-SIGNATURE_SIZE_BYTES], data[-SIGNATURE_SIZE_BYTES:]


def require_same(what: str, unsigned: bytes, encoded: bytes) -> None:
    """Refuse bytes that mean a value but are not its one encoding: reserved bytes, unused entries, padding."""
    if encoded != unsigned:
        offset = next(i for i in range(len(unsigned)) if encoded[i] != unsigned[i])
        raise FormatError(what, offset, "a reserved or unused byte is not zero, or a field is not in its one form")


def require_signed(what: str, signature: bytes) -> Signature:
    """The signature of an object that must carry one. Raises FormatError."""
    if signature == NO_SIGNATURE:
        raise FormatError("signature", 0, f"this {what} is prepared and not signed")
    return Signature(signature)


def require_unsigned_object(what: str, signature: bytes) -> None:
    """Refuse a prepared object that carries a signature already. Raises FormatError."""
    if signature != NO_SIGNATURE:
        raise FormatError("signature", 0, f"this {what} carries a signature already; a prepared one has none")


def verify_object(what: str, digest: Digest, signature: Signature, key: PublicKey, signer_key_id: bytes | None) -> None:
    """Verify an object's signature; `signer_key_id` is what the object says of its signer, if it does.

    Raises SignatureInvalid.
    """
    if signer_key_id is not None and key.key_id != signer_key_id:
        raise SignatureInvalid(f"the {what} names signer {signer_key_id.hex()}, not key {key.key_id.hex()}")
    verify_signature(key, digest, signature)
