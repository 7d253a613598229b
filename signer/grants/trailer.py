"""The trailer of a file of grants: SHA-256 over everything before it."""

from __future__ import annotations

import hashlib

from signer.grants.layout import GrantFileLayout
from signer.new_file import NewFile

_BLOCK_SIZE_BYTES = 1 << 20


def write_trailer(file: NewFile, layout: GrantFileLayout) -> None:
    """Hash what was written, and write the digest behind it. Raises OutputError."""
    state = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK_SIZE_BYTES))
    for offset in range(0, layout.trailer_offset, _BLOCK_SIZE_BYTES):
        view = block[: min(_BLOCK_SIZE_BYTES, layout.trailer_offset - offset)]
        file.read_at(offset, [view])
        state.update(view)
    file.write_at(layout.trailer_offset, state.digest())
