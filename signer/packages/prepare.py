"""`package prepare`: everything that a signature covers is frozen, so that an approval can bind to exactly that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from pki.values import Digest
from signer.new_file import NewFile
from signer.packages.encryption import PackagingMeans, new_content_key, new_salt
from signer.packages.firmware_input import FirmwareImage
from signer.packages.layout import HEAD_SIZE_BYTES, context
from signer.packages.manifest import Manifest, WrappedContentKey, encode_manifest, tbs_digest
from signer.packages.payload import write_payload
from signer.packages.prepared_file import PreparedFile
from signer.packages.progress import Progress, ProgressCount, no_progress
from signer.packages.terms import PackageRequest

SBOM_SIZE_BYTES_MAX = 64 * 1024 * 1024
_SBOM_CONTEXT = context("SR-sbom-v1")


class PackageWritten(msgspec.Struct, frozen=True):
    """A package file: what it says, the digest its signers sign, and its size. `complete`: every signature is there."""

    path: Path
    size_bytes: int
    manifest: Manifest
    tbs_digest: Digest
    complete: bool


def prepare_package(
    request: PackageRequest,
    firmware: FirmwareImage,
    output: Path,
    means: PackagingMeans,
    sbom: Path | None = None,
    progress: Progress = no_progress,
) -> PackageWritten:
    """Write a package without signatures and trailer (docs/spec/package.md, section 8); every device refuses it.

    Raises InputRefused, OutputError, PolicyViolation CEK-REUSE, and what the means raise; then no file is left.
    """
    with NewFile(output) as file:
        count = ProgressCount(progress, 2 * firmware.size_bytes)
        manifest = freeze(request, firmware, file, means, sbom, count.advance)
        signed = encode_manifest(manifest)
        file.write_at(0, signed.ljust(HEAD_SIZE_BYTES, b"\0"))
        file.publish()
    size_bytes = HEAD_SIZE_BYTES + manifest.payload_size_bytes
    return PackageWritten(output, size_bytes, manifest, tbs_digest(signed), complete=False)


def freeze(
    request: PackageRequest,
    firmware: FirmwareImage,
    file: NewFile,
    means: PackagingMeans,
    sbom: Path | None,
    advance: Callable[[int], None],
) -> Manifest:
    """Write the payload into `file` and return the manifest for it. Advances by the image's size twice."""
    salt = new_salt(means.random)
    sbom_digest = _sbom_digest(sbom, salt)
    content_key = new_content_key(request, salt, means)
    payload = write_payload(firmware, salt, content_key.secret if content_key else None, file, advance)
    firmware.require_unchanged()
    return Manifest(
        terms=request.terms,
        load_address=firmware.load_address,
        image_size_bytes=firmware.size_bytes,
        image_salt=salt,
        image_digest=payload.image_digest,
        first_link=payload.first_link,
        sbom_digest=sbom_digest,
        content_key=content_key.wrapped if content_key else WrappedContentKey(),
        signer_key_ids=request.signer_key_ids,
    )


def prepared_digest(path: Path) -> Digest:
    """The digest that the signers of a prepared package are asked to sign, for showing and for binding an approval.

    It covers the whole package through the manifest. Raises InputRefused, FormatError.
    """
    with PreparedFile(path) as prepared:
        return tbs_digest(prepared.head)


def _sbom_digest(sbom: Path | None, salt: bytes) -> bytes:
    """Over the SBOM or provenance file, or over nothing."""
    state = hashlib.sha256(_SBOM_CONTEXT + salt)
    if sbom is None:
        return state.digest()
    from signer.packages.file_blocks import blocks_of

    for block in blocks_of(sbom, SBOM_SIZE_BYTES_MAX, "the SBOM"):
        state.update(block)
    return state.digest()
