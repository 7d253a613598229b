"""Trust bundles as bytes: encoder, digest, and the decoder for bundles of our own that wait for signatures."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pki.errors import FormatError, InputRefused
from pki.roles import DEVICE_ROLES
from pki.values import Digest, PublicKey, Signature
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits, TrustBundleContent
from signer.trust_bundles.layout import (
    BUNDLE_SIZE_BYTES,
    REVOKED_COUNT_MAX,
    REVOKED_OFFSET,
    REVOKED_SIZE_BYTES,
    ROLE_KEY_COUNT_MAX,
    ROLE_KEY_SIZE_BYTES,
    ROLE_KEYS_OFFSET,
    ROOT_COUNT_MAX,
    ROOT_SIZE_BYTES,
    ROOTS_OFFSET,
    SIGNATURE_COUNT_MAX,
    SIGNATURE_COUNT_OFFSET,
    SIGNATURE_SIZE_BYTES,
    SIGNATURES_OFFSET,
    SIGNED_SIZE_BYTES,
)

_HEADER = struct.Struct("<4sHBBBBBxI16s32sIIIIII8x")
_ROLE_KEY = struct.Struct("<B3x64s")
_REVOKED = struct.Struct("<8sB3x")
_SIGNATURE = struct.Struct("<BB2x64s")
_MAGIC = b"SRB1"
_FORMAT_VERSION = 1
_SUITE = 1
_STOP = 0x01
_CONTEXT = b"SR-bundle-v1".ljust(16, b"\0")


class RootSet(IntEnum):
    """Whose root a signature is by."""

    PREVIOUS = 0
    OWN = 1


@dataclass(frozen=True, slots=True)
class BundleSignature:
    """A signature over the bundle's digest by the root at `root_index` among the sorted roots of `root_set`."""

    root_set: RootSet
    root_index: int
    signature: Signature


def unsigned_bundle(content: TrustBundleContent) -> bytes:
    """The 2,304 bytes of a bundle without signatures."""
    limits = (content.application_limits, content.bootloader_limits, content.factory_test_limits)
    header = _HEADER.pack(
        _MAGIC,
        _FORMAT_VERSION,
        _SUITE,
        len(content.roots),
        content.root_threshold,
        len(content.role_keys),
        len(content.revoked),
        content.version,
        content.product_id,
        content.previous_digest,
        *(bound for limit in limits for bound in (limit.minimum, limit.maximum)),
    )
    bundle = bytearray(BUNDLE_SIZE_BYTES)
    bundle[: len(header)] = header
    _place(bundle, ROOTS_OFFSET, [root.point for root in content.roots])
    _place(
        bundle, ROLE_KEYS_OFFSET, [_ROLE_KEY.pack(entry.role_number, entry.key.point) for entry in content.role_keys]
    )
    _place(
        bundle,
        REVOKED_OFFSET,
        [_REVOKED.pack(entry.key_id, _STOP if entry.stops_installed_images else 0) for entry in content.revoked],
    )
    return bytes(bundle)


def bundle_digest(bundle: bytes) -> Digest:
    """What roots sign, and the next version's `previous_digest`: everything but the signatures. Raises FormatError."""
    _require_size(bundle)
    return Digest.of(_CONTEXT, bundle[:SIGNED_SIZE_BYTES])


def assemble(content: TrustBundleContent, signatures: Sequence[BundleSignature]) -> bytes:
    """The bundle with these signatures, in their order on the wire; raises InputRefused for too many or a repetition.

    Nothing is verified here: see `signer.trust_bundles.signing`.
    """
    if len(signatures) > SIGNATURE_COUNT_MAX:
        raise InputRefused(f"a trust bundle has at most {SIGNATURE_COUNT_MAX} signatures, not {len(signatures)}")
    if len({(entry.root_set, entry.root_index) for entry in signatures}) != len(signatures):
        raise InputRefused("one root's signature stands twice; leave one of the two out")
    for entry in signatures:
        # How many roots the previous version has is not known here.
        roots = len(content.roots) if entry.root_set is RootSet.OWN else ROOT_COUNT_MAX
        if not 0 <= entry.root_index < roots:
            raise InputRefused(f"there is no root {entry.root_index}; roots are counted from 0 to {roots - 1}")
        if entry.root_set is RootSet.PREVIOUS and content.version == 1:
            raise InputRefused("the genesis bundle has no previous roots that could sign it")
    bundle = bytearray(unsigned_bundle(content))
    bundle[SIGNATURE_COUNT_OFFSET] = len(signatures)
    _place(
        bundle,
        SIGNATURES_OFFSET,
        [_SIGNATURE.pack(entry.root_set, entry.root_index, entry.signature.value) for entry in signatures],
    )
    return bytes(bundle)


def decode_bundle(bundle: bytes) -> tuple[TrustBundleContent, tuple[BundleSignature, ...]]:
    """Read a bundle that `assemble` wrote; raises FormatError for anything else.

    Only what encodes back to exactly the same bytes is taken, so order, reserved bytes and counts need no second check.
    """
    _require_size(bundle)
    if bundle[:4] != _MAGIC:
        raise FormatError("magic", 0, "not a trust bundle")
    fields = _HEADER.unpack_from(bundle)
    if fields[1:3] != (_FORMAT_VERSION, _SUITE):
        raise FormatError("format_version", 4, "made by another version of Strongroom; use that one")
    try:
        content = _content_of(bundle, fields)
        signatures = _signatures_of(bundle)
        encoded = assemble(content, signatures)
    except (ValueError, InputRefused) as error:
        raise FormatError("content", 0, f"not one that a device would accept: {error}") from None
    if encoded != bundle:
        offset = next(i for i in range(BUNDLE_SIZE_BYTES) if encoded[i] != bundle[i])
        raise FormatError("bundle", offset, "not in the one order and form that a trust bundle has")
    return content, signatures


def _content_of(bundle: bytes, fields: tuple[Any, ...]) -> TrustBundleContent:
    _, _, _, root_count, threshold, role_key_count, revoked_count, version, product_id, previous, *limits = fields
    return TrustBundleContent(
        product_id=product_id,
        version=version,
        previous_digest=previous,
        root_threshold=threshold,
        roots=tuple(
            PublicKey(entry) for entry in _entries(bundle, ROOTS_OFFSET, ROOT_SIZE_BYTES, root_count, ROOT_COUNT_MAX)
        ),
        role_keys=tuple(
            _role_key_of(entry)
            for entry in _entries(bundle, ROLE_KEYS_OFFSET, ROLE_KEY_SIZE_BYTES, role_key_count, ROLE_KEY_COUNT_MAX)
        ),
        revoked=tuple(
            _revoked_of(entry)
            for entry in _entries(bundle, REVOKED_OFFSET, REVOKED_SIZE_BYTES, revoked_count, REVOKED_COUNT_MAX)
        ),
        application_limits=SecurityVersionLimits(*limits[0:2]),
        bootloader_limits=SecurityVersionLimits(*limits[2:4]),
        factory_test_limits=SecurityVersionLimits(*limits[4:6]),
    )


def _role_key_of(entry: bytes) -> RoleKey:
    number, point = _ROLE_KEY.unpack(entry)
    if number not in DEVICE_ROLES:
        raise InputRefused(f"role {number} is unknown")
    return RoleKey(DEVICE_ROLES[number], PublicKey(point))


def _revoked_of(entry: bytes) -> RevokedKey:
    key_id, flags = _REVOKED.unpack(entry)
    return RevokedKey(key_id, bool(flags & _STOP))


def _signatures_of(bundle: bytes) -> tuple[BundleSignature, ...]:
    count = bundle[SIGNATURE_COUNT_OFFSET]
    found = []
    for entry in _entries(bundle, SIGNATURES_OFFSET, SIGNATURE_SIZE_BYTES, count, SIGNATURE_COUNT_MAX):
        root_set, root_index, signature = _SIGNATURE.unpack(entry)
        found.append(BundleSignature(RootSet(root_set), root_index, Signature(signature)))
    return tuple(found)


def _entries(bundle: bytes, offset: int, size_bytes: int, count: int, count_max: int) -> list[bytes]:
    if count > count_max:
        raise InputRefused(f"{count} entries in an array of {count_max}")
    return [bundle[begin : begin + size_bytes] for begin in range(offset, offset + count * size_bytes, size_bytes)]


def _place(bundle: bytearray, offset: int, entries: list[bytes]) -> None:
    """Entries stand sorted as byte strings at the front of their array."""
    joined = b"".join(sorted(entries))
    bundle[offset : offset + len(joined)] = joined


def _require_size(bundle: bytes) -> None:
    if len(bundle) != BUNDLE_SIZE_BYTES:
        raise FormatError("bundle", 0, f"a trust bundle has exactly {BUNDLE_SIZE_BYTES} bytes, not {len(bundle)}")
