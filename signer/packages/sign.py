"""`package sign`: fills in the signatures of a prepared package and appends the trailer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from pki.errors import InputRefused, SignatureInvalid
from pki.values import Digest, PublicKey, Signature
from signer.new_file import NewFile
from signer.packages.layout import (
    CHUNK_SIZE_BYTES,
    HEAD_SIZE_BYTES,
    LINK_SIZE_BYTES,
    SIGNATURE_OFFSETS,
    SIGNATURE_SIZE_BYTES,
    WIRE_CHUNK_SIZE_BYTES,
    chunk_count,
)
from signer.packages.manifest import Manifest, tbs_digest
from signer.packages.mcuboot_trailer import mcuboot_trailer, require_without_authority
from signer.packages.payload import verify_chunk
from signer.packages.prepare import PackageWritten
from signer.packages.prepared_file import PreparedFile
from signer.packages.progress import Progress, ProgressCount, no_progress
from signer.signing_key import SigningKey, sign_verified, verify_signature

_BLOCK_CHUNKS = 256
_BLOCK_SIZE_BYTES = _BLOCK_CHUNKS * WIRE_CHUNK_SIZE_BYTES
_NO_SIGNATURE = bytes(SIGNATURE_SIZE_BYTES)

Advance = Callable[[int], None]


def sign_package(
    prepared: Path,
    output: Path,
    keys: Sequence[SigningKey],
    compat_key: SigningKey,
    earlier_signers: Sequence[PublicKey] = (),
    progress: Progress = no_progress,
) -> PackageWritten:
    """Verify the prepared package, sign it with `keys`, and write the result to a new file.

    A bootloader package may be signed by one key at a time: as long as a signature is missing, the result has no
    trailer and is signed again, with the earlier signer's public key given, so that the signature already there is
    verified. Raises InputRefused, FormatError, SignatureInvalid, PolicyViolation PKG-01, OutputError, TokenError; then
    no file is left.
    """
    with PreparedFile(prepared) as source, NewFile(output) as file:
        manifest = source.manifest
        require_signers(keys, manifest.signer_key_ids)
        require_without_authority(compat_key, manifest.signer_key_ids)
        payload_size_bytes = manifest.payload_size_bytes
        count = ProgressCount(progress, 2 * payload_size_bytes)
        # What is signed is what was read and verified here, whatever happens to the prepared file meanwhile.
        _copy_verified_payload(source, file, count.advance)
        head, complete = filled_head(source.head, manifest, keys, earlier_signers)
        file.write_at(0, head)
        size_bytes = HEAD_SIZE_BYTES + payload_size_bytes
        if complete:
            size_bytes += append_trailer(file, head, payload_size_bytes, compat_key, count.advance)
        file.publish()
    return PackageWritten(output, size_bytes, manifest, tbs_digest(head), complete)


def require_signers(keys: Sequence[SigningKey], signer_key_ids: Sequence[bytes]) -> None:
    """Refuse keys that the head does not name, and keys given twice, before anything is done; raises InputRefused."""
    if not keys:
        raise InputRefused("no signing key was given; name at least one of the package's signers")
    ids = [key.public_key.key_id for key in keys]
    for key_id in ids:
        if key_id not in signer_key_ids:
            named = " and ".join(known.hex() for known in signer_key_ids)
            raise InputRefused(f"key {key_id.hex()} is not a signer of this package, which names {named}")
    if len(set(ids)) != len(ids):
        raise InputRefused("the same signing key was given twice")


def filled_head(
    head: bytes, manifest: Manifest, keys: Sequence[SigningKey], earlier_signers: Sequence[PublicKey] = ()
) -> tuple[bytes, bool]:
    """The head with the signatures of `keys`, and whether all are there; raises SignatureInvalid, InputRefused."""
    digest = tbs_digest(head)
    signing_keys = {key.public_key.key_id: key for key in keys}
    public_keys = {key.key_id: key for key in earlier_signers}
    filled = bytearray(head)
    complete = True
    for key_id, offset in zip(manifest.signer_key_ids, SIGNATURE_OFFSETS, strict=False):
        place = slice(offset, offset + SIGNATURE_SIZE_BYTES)
        present = bytes(filled[place])
        if present != _NO_SIGNATURE:
            _verify_earlier(digest, present, public_keys.get(key_id), key_id)
        elif key_id in signing_keys:
            filled[place] = sign_verified(signing_keys[key_id], digest).value
        else:
            complete = False
    return bytes(filled), complete


def _verify_earlier(digest: Digest, signature: bytes, key: PublicKey | None, key_id: bytes) -> None:
    if key is None:
        raise InputRefused(f"the package is signed by {key_id.hex()} already; give that public key, to verify it")
    try:
        verify_signature(key, digest, Signature(signature))
    except SignatureInvalid:
        raise SignatureInvalid(f"the signature already there is not by key {key_id.hex()}; prepare again") from None


def append_trailer(
    file: NewFile, head: bytes, payload_size_bytes: int, compat_key: SigningKey, advance: Advance
) -> int:
    """Hash head and payload as they stand in the file, write the trailer behind them; returns its size in bytes."""
    state = hashlib.sha256(head)
    buffer = memoryview(bytearray(min(_BLOCK_SIZE_BYTES, payload_size_bytes)))
    end = HEAD_SIZE_BYTES + payload_size_bytes
    for offset in range(HEAD_SIZE_BYTES, end, _BLOCK_SIZE_BYTES):
        block = buffer[: end - offset]
        file.read_at(offset, [block])
        state.update(block)
        advance(block.nbytes)
    trailer = mcuboot_trailer(Digest(state.digest()), compat_key)
    file.write_at(end, trailer)
    return len(trailer)


def _copy_verified_payload(source: PreparedFile, file: NewFile, advance: Advance) -> None:
    """Follow the chain from the manifest's first link through every chunk; raises SignatureInvalid where it breaks."""
    image_size_bytes = source.manifest.image_size_bytes
    buffer = memoryview(bytearray(_BLOCK_SIZE_BYTES))
    link = source.manifest.first_link
    last = chunk_count(image_size_bytes) - 1
    last_size_bytes = (image_size_bytes - 1) % CHUNK_SIZE_BYTES + 1 + LINK_SIZE_BYTES
    for first in range(0, last + 1, _BLOCK_CHUNKS):
        count = min(_BLOCK_CHUNKS, last + 1 - first)
        offset = HEAD_SIZE_BYTES + first * WIRE_CHUNK_SIZE_BYTES
        ends_here = first + count == last + 1
        block = buffer[
            : (count - 1) * WIRE_CHUNK_SIZE_BYTES + (last_size_bytes if ends_here else WIRE_CHUNK_SIZE_BYTES)
        ]
        source.read_into(offset, block)
        for index in range(first, first + count):
            begin = (index - first) * WIRE_CHUNK_SIZE_BYTES
            chunk = block[begin : begin + WIRE_CHUNK_SIZE_BYTES]
            if not verify_chunk(index, chunk, link):
                raise SignatureInvalid(f"chunk {index} of the prepared package was changed; prepare the package again")
            link = bytes(chunk[-LINK_SIZE_BYTES:])
        file.write_at(offset, block)
        advance(block.nbytes)
    if any(link):
        raise SignatureInvalid("the last chunk does not end the chain; prepare the package again")
