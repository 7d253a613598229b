"""Who signed a head, and may they? Checks 16 and 17 of docs/spec/package.md, section 1.

The bootloader asks the trust bundle; the pre-bootloader knows only the three keys built into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.crypto import key_id, verify_signature
from bootloader.reference.head import Head, PackageType
from bootloader.reference.trust_bundle import Role, TrustBundle

ROLE_OF_TYPE = {
    PackageType.APPLICATION: Role.APPLICATION_RELEASE,
    PackageType.BOOTLOADER: Role.BOOTLOADER_RELEASE,
    PackageType.FACTORY_TEST: Role.PRODUCTION,
}


def verify_head_signatures(
    head: Head, device_uid: bytes, bundle: TrustBundle, built_in_bootloader_keys: Sequence[bytes]
) -> tuple[bytes, ...]:
    """The public keys that signed, one, or two for a bootloader; raises Refused unless all are current and all verify.

    `device_uid` is the device's own, padded to 16 bytes. A bootloader's signers must also be among the built-in keys.
    """
    candidates: Sequence[bytes] = bundle.keys_of(ROLE_OF_TYPE[head.package_type])
    if head.package_type == PackageType.BOOTLOADER:
        candidates = [key for key in candidates if key in built_in_bootloader_keys]

    signers = []
    for signer_id in _signer_ids(head):
        revoked = bundle.is_revoked(signer_id)
        require(not revoked, DeviceCode.SIGNER_REVOKED, f"the signer's key {signer_id.hex()} is revoked")
        signers.append(_key_named(signer_id, candidates))
    _verify_signatures(head, device_uid, signers)
    return tuple(signers)


def verify_bootloader_head(head: Head, device_uid: bytes, built_in_keys: Sequence[bytes]) -> None:
    """The pre-bootloader's question: a bootloader, signed by two different built-in keys. Raises Refused.

    No trust bundle is asked: revocation among these keys is enforced when a copy is installed.
    """
    is_bootloader = head.package_type == PackageType.BOOTLOADER
    require(is_bootloader, DeviceCode.PACKAGE_TYPE, f"a {head.package_type.name} is no bootloader")
    signers = [_key_named(signer_id, built_in_keys) for signer_id in _signer_ids(head)]
    _verify_signatures(head, device_uid, signers)


def _signer_ids(head: Head) -> tuple[bytes, ...]:
    if head.package_type == PackageType.BOOTLOADER:
        # Check 15 made them strictly ascending: two different ids are two different keys.
        return (head.signer_key_id_0, head.signer_key_id_1)
    return (head.signer_key_id_0,)


def _key_named(signer_id: bytes, candidates: Sequence[bytes]) -> bytes:
    """The one candidate with this key id; an id that named two keys would name none."""
    named = [key for key in candidates if key_id(key) == signer_id]
    require(len(named) == 1, DeviceCode.SIGNER_UNKNOWN, f"{signer_id.hex()} names no key that may sign this type")
    return named[0]


def _verify_signatures(head: Head, device_uid: bytes, signers: Sequence[bytes]) -> None:
    """Check 17, in the order of the signatures."""
    digest = head.signed_digest(device_uid)
    signatures = (head.signature_0, head.signature_1)[: len(signers)]
    for signer, signature in zip(signers, signatures, strict=True):
        verify_signature(signer, digest, signature)
