"""Reviewed files as a rehearsal needs them: what they say of real keys, they say of the stand-ins instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pki.values import PublicKey

_BUNDLE_MAGIC = b"SRB1"
_MANIFEST_MAGIC = b"SRM1"
_MANIFEST_OFFSET = 32


def stand_in_file(content: bytes, keys: Mapping[PublicKey, PublicKey]) -> bytes:
    """The file for the rehearsal: a trust bundle or a prepared package rewritten, anything else as it is.

    Raises FormatError, InputRefused for one that is damaged.
    """
    if content.startswith(_BUNDLE_MAGIC):
        return _stand_in_bundle(content, keys)
    if content[_MANIFEST_OFFSET:].startswith(_MANIFEST_MAGIC):
        return _stand_in_package(content, keys)
    return content


def _stand_in_bundle(content: bytes, keys: Mapping[PublicKey, PublicKey]) -> bytes:
    """The same version with other keys; unsigned, which a successor's signing does not look at."""
    from dataclasses import replace

    from signer.trust_bundles.content import RevokedKey
    from signer.trust_bundles.encoding import decode_bundle, unsigned_bundle

    said, _ = decode_bundle(content)
    ids = {real.key_id: stand_in.key_id for real, stand_in in keys.items()}
    return unsigned_bundle(
        replace(
            said,
            roots=tuple(keys.get(root, root) for root in said.roots),
            role_keys=tuple(replace(entry, key=keys.get(entry.key, entry.key)) for entry in said.role_keys),
            revoked=tuple(
                RevokedKey(ids.get(entry.key_id, entry.key_id), entry.stops_installed_images) for entry in said.revoked
            ),
        )
    )


def _stand_in_package(content: bytes, keys: Mapping[PublicKey, PublicKey]) -> bytes:
    """The same prepared package for other signers: nothing is signed yet, so only the head's key ids change."""
    from signer.packages.layout import SIGNED_SIZE_BYTES
    from signer.packages.manifest import decode_manifest, encode_manifest

    said = decode_manifest(content[:SIGNED_SIZE_BYTES])
    ids = {real.key_id: stand_in.key_id for real, stand_in in keys.items()}
    signers = tuple(sorted(ids.get(key_id, key_id) for key_id in said.signer_key_ids))
    return encode_manifest(msgspec.structs.replace(said, signer_key_ids=signers)) + content[SIGNED_SIZE_BYTES:]
