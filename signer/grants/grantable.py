"""The package that grants are for, by its signed head."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from pki.errors import FormatError, InputRefused
from signer.grants.rules import GrantRefused
from signer.packages.layout import HEAD_SIZE_BYTES, SIGNATURE_OFFSETS, SIGNATURE_SIZE_BYTES, SIGNED_SIZE_BYTES
from signer.packages.manifest import Manifest, decode_manifest
from signer.packages.terms import Target


class GrantablePackage(msgspec.Struct, frozen=True):
    """A package that needs a grant: `head_hash` is SHA-256 over its 1,024 bytes of head, signatures included."""

    manifest: Manifest
    head: bytes
    head_hash: bytes

    @property
    def product_id(self) -> bytes:
        """Which product it is for."""
        return self.manifest.terms.product_id

    @property
    def image_salt(self) -> bytes:
        """Its salt."""
        return self.manifest.image_salt

    @property
    def cek_commitment(self) -> bytes:
        """What its head commits to."""
        return self.manifest.content_key.cek_commitment


def grantable_package(path: Path) -> GrantablePackage:
    """Read the head of the package at `path`. Raises InputRefused, FormatError, GrantRefused GR-10, GR-11."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_SIZE_BYTES)
    except OSError as error:
        raise InputRefused(f"cannot read {path}: {error.strerror}") from None
    if len(head) != HEAD_SIZE_BYTES:
        raise FormatError("head", 0, f"{path} has fewer than {HEAD_SIZE_BYTES} bytes; it is no package")
    return grantable_head(head)


def grantable_head(head: bytes) -> GrantablePackage:
    """The same for the 1,024 bytes. Whether the signatures verify is for whoever knows the keys."""
    manifest = decode_manifest(head[:SIGNED_SIZE_BYTES])
    if manifest.terms.target is not Target.GRANT_REQUIRED:
        raise GrantRefused(
            "GR-10", f"the package is for {manifest.terms.target.name.lower().replace('_', ' ')}: it takes no grants"
        )
    for offset in SIGNATURE_OFFSETS[: len(manifest.signer_key_ids)]:
        if not any(head[offset : offset + SIGNATURE_SIZE_BYTES]):
            raise GrantRefused("GR-11", "the package is not signed by all yet; grants name the signed head")
    return GrantablePackage(manifest, head, hashlib.sha256(head).digest())
