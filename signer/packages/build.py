"""`package build`: prepare and sign in one pass, with one file written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pki.errors import InputRefused
from signer.new_file import NewFile
from signer.packages.encryption import PackagingMeans
from signer.packages.firmware_input import FirmwareImage
from signer.packages.layout import HEAD_SIZE_BYTES, payload_size_bytes
from signer.packages.manifest import encode_manifest, tbs_digest
from signer.packages.mcuboot_trailer import require_without_authority
from signer.packages.prepare import PackageWritten, freeze
from signer.packages.progress import Progress, ProgressCount, no_progress
from signer.packages.sign import append_trailer, filled_head, require_signers
from signer.packages.terms import PackageRequest
from signer.signing_key import SigningKey


def build_package(
    request: PackageRequest,
    firmware: FirmwareImage,
    output: Path,
    means: PackagingMeans,
    keys: Sequence[SigningKey],
    compat_key: SigningKey,
    sbom: Path | None = None,
    progress: Progress = no_progress,
) -> PackageWritten:
    """Write a complete package (docs/spec/package.md); `keys` are all the signers that the request names.

    Raises InputRefused, OutputError, SignatureInvalid, PolicyViolation CEK-REUSE or PKG-01, TokenError, and what the
    means raise; then no file is left.
    """
    require_signers(keys, request.signer_key_ids)
    if len(keys) != len(request.signers):
        raise InputRefused(
            "build needs every signer's key; to sign one at a time, use package prepare and package sign"
        )
    require_without_authority(compat_key, request.signer_key_ids)
    with NewFile(output) as file:
        wire_size_bytes = payload_size_bytes(firmware.size_bytes)
        count = ProgressCount(progress, 2 * firmware.size_bytes + wire_size_bytes)
        manifest = freeze(request, firmware, file, means, sbom, count.advance)
        file.start_writing_out()
        unsigned = encode_manifest(manifest).ljust(HEAD_SIZE_BYTES, b"\0")
        head, _ = filled_head(unsigned, manifest, keys)
        file.write_at(0, head)
        trailer_size_bytes = append_trailer(file, head, wire_size_bytes, compat_key, count.advance)
        file.publish()
    size_bytes = HEAD_SIZE_BYTES + wire_size_bytes + trailer_size_bytes
    return PackageWritten(output, size_bytes, manifest, tbs_digest(head), complete=True)
