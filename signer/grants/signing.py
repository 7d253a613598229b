"""Signing a prepared file of grants: everything in it is verified first, then copied with the one signature."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pki.values import Digest
from signer.grants.batch import GrantBatch
from signer.grants.file import GrantFile
from signer.grants.layout import TRAILER_SIZE_BYTES
from signer.grants.making import SignBatch
from signer.grants.rules import GrantRefused
from signer.grants.trailer import write_trailer
from signer.new_file import NewFile

_COPIED_AT_ONCE_BYTES = 1 << 20

Advance = Callable[[int], None]
"""Told the number of bytes just worked through."""


def prepared_batch(path: Path, advance: Advance = lambda _: None) -> GrantBatch:
    """The batch of a prepared file that holds together. Raises GrantRefused GR-38 if it is signed, GrantInvalid."""
    with GrantFile(path) as file:
        _require_unsigned(file)
        file.require_whole(advance)
        return file.signed_batch.batch


def sign_prepared(prepared: Path, file: NewFile, sign: SignBatch, approved: Digest | None = None) -> GrantBatch:
    """Write the signed file into `file`; publishing it is the caller's.

    `approved` is the digest of the batch that was asked for, where somebody had to ask. Raises GrantRefused GR-38 for
    another one or a file that is signed already, GrantInvalid for one that does not hold together, what `sign` raises,
    OutputError.
    """
    with GrantFile(prepared) as source:
        _require_unsigned(source)
        batch = source.signed_batch.batch
        if approved is not None and batch.digest != approved:
            raise GrantRefused("GR-38", f"{prepared} is not the batch that was asked for: {approved.value.hex()}")
        source.require_whole()
        _copy(source, file)
    file.write_at(0, batch.with_signature(sign(batch)))
    write_trailer(file, source.layout)
    return batch


def _copy(source: GrantFile, file: NewFile) -> None:
    """What was verified, and nothing that came in its place meanwhile: the digest at its end is its."""
    state = hashlib.sha256()
    for offset in range(0, source.layout.trailer_offset, _COPIED_AT_ONCE_BYTES):
        block = source.read(offset, min(_COPIED_AT_ONCE_BYTES, source.layout.trailer_offset - offset))
        state.update(block)
        file.write_at(offset, block)
    if state.digest() != source.read(source.layout.trailer_offset, TRAILER_SIZE_BYTES):
        raise GrantRefused("GR-38", f"{source.path} changed while it was read; nothing was signed")


def _require_unsigned(file: GrantFile) -> None:
    if file.signed_batch.is_signed:
        raise GrantRefused("GR-38", f"{file.path} is signed already")
