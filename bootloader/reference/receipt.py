"""The receipt: what a device signs when it has taken an activation or a service order (activation.md, section 4)."""

from __future__ import annotations

from struct import Struct

from bootloader.reference.challenge import sign_object
from bootloader.reference.crypto import POINT_SIZE_BYTES, context, public_point
from bootloader.reference.platform import Protection
from bootloader.reference.records import DeviceKeys, Lifecycle
from bootloader.reference.signed_object import FORMAT_VERSION, SUITE, ObjectKind

RECEIPT = ObjectKind("receipt", b"SRR1", context("SR-receipt-v1"), 320)

# magic version suite lifecycle; uid nonce object_digest; identity and agreement key; protection reserved,
# bundle version reserved
_LAYOUT = Struct("<4s H B B 16s 32s 32s 64s 64s H 2s I 32s")


def build_receipt(
    lifecycle: Lifecycle,
    device_uid: bytes,
    answered: tuple[bytes, bytes],
    keys: DeviceKeys | None,
    protection: Protection,
    trust_bundle_version: int,
) -> bytes:
    """The 320 bytes; `answered` are nonce and digest of the object. Without keys it is not signed."""
    nonce, object_digest = answered
    point = bytes(POINT_SIZE_BYTES)
    unsigned = _LAYOUT.pack(
        *(RECEIPT.magic, FORMAT_VERSION, SUITE, lifecycle, device_uid, nonce, object_digest),
        public_point(keys.identity_private) if keys is not None else point,
        public_point(keys.agreement_private) if keys is not None else point,
        *(protection, b"", trust_bundle_version, b""),
    )
    return unsigned + sign_object(RECEIPT, unsigned, keys)
