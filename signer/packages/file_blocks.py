"""Reading a whole file of bounded size, block by block, to hash it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pki.errors import InputRefused

_READ_SIZE_BYTES = 1 << 18


def blocks_of(path: Path, size_bytes_max: int, what: str) -> Iterator[bytes]:
    """The file's content. Raises InputRefused for one that cannot be read, or is larger than `what` may be."""
    room_bytes = size_bytes_max
    try:
        with path.open("rb") as stream:
            while block := stream.read(_READ_SIZE_BYTES):
                room_bytes -= len(block)
                if room_bytes < 0:
                    raise InputRefused(f"{path} has more than {size_bytes_max} bytes; is it {what}?")
                yield block
    except OSError as error:
        raise InputRefused(f"cannot read {path}: {error.strerror}") from None
