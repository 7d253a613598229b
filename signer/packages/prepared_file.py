"""A prepared package as it is read again, to show its digest or to sign it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pki.errors import FormatError, InputRefused
from signer.packages.layout import (
    HEAD_SIZE_BYTES,
    SIGNATURE_OFFSETS,
    SIGNATURE_SIZE_BYTES,
    SIGNED_SIZE_BYTES,
)
from signer.packages.manifest import Manifest, decode_manifest


class PreparedFile:
    """A prepared package, open for reading; head, padding and size are checked. Use as a context manager."""

    __slots__ = ("_descriptor", "_path", "head", "manifest")

    def __init__(self, path: Path) -> None:
        """Raises InputRefused for a file that cannot be read, FormatError for one that is no prepared package."""
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise InputRefused(f"cannot read {path}: {error.strerror}") from None
        try:
            self.head = os.pread(self._descriptor, HEAD_SIZE_BYTES, 0)
            self.manifest = self._checked_manifest(os.fstat(self._descriptor).st_size)
        except OSError as error:
            os.close(self._descriptor)
            raise InputRefused(f"cannot read {path}: {error.strerror}") from None
        except BaseException:
            os.close(self._descriptor)
            raise

    def _checked_manifest(self, file_size_bytes: int) -> Manifest:
        if len(self.head) != HEAD_SIZE_BYTES:
            raise FormatError("head", 0, f"{self._path} has fewer than {HEAD_SIZE_BYTES} bytes; it is no package")
        manifest = decode_manifest(self.head[:SIGNED_SIZE_BYTES])
        signatures_end = SIGNATURE_OFFSETS[len(manifest.signer_key_ids) - 1] + SIGNATURE_SIZE_BYTES
        if any(self.head[signatures_end:]):
            raise FormatError("padding", signatures_end, "not zero; prepare the package again")
        expected_bytes = HEAD_SIZE_BYTES + manifest.payload_size_bytes
        if file_size_bytes != expected_bytes:
            raise FormatError(
                "file",
                min(file_size_bytes, expected_bytes),
                f"a prepared package of this image has {expected_bytes} bytes, not {file_size_bytes}: "
                "signed already, cut off, or not from package prepare",
            )
        return manifest

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset` on, in bytes from the start of the file; raises InputRefused."""
        try:
            count = os.preadv(self._descriptor, [view], offset)
        except OSError as error:
            raise InputRefused(f"cannot read {self._path}: {error.strerror}") from None
        if count != view.nbytes:
            raise InputRefused(f"{self._path} became shorter while it was read; prepare it again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
