"""The payload: image to ciphertext to chunks with their links, through blocks of constant size.

Links are computed from the last chunk to the first, because each covers the next; the image is read only once, from
its beginning. So the ciphertext is written first in one piece, and then moved to its place from the end: a block's new
place never begins before its old one, so nothing is overwritten before it was moved.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Protocol

import msgspec

from signer.new_file import NewFile
from signer.packages.layout import (
    CHUNK_SIZE_BYTES,
    HEAD_SIZE_BYTES,
    LINK_SIZE_BYTES,
    WIRE_CHUNK_SIZE_BYTES,
    chunk_count,
    context,
)

_BLOCK_CHUNKS = 256
_BLOCK_SIZE_BYTES = _BLOCK_CHUNKS * CHUNK_SIZE_BYTES
_IMAGE_CONTEXT = context("SR-image-v1")
_CHUNK_PREFIX = struct.Struct("<16sI")
_CHUNK_CONTEXT = context("SR-chunk-v1")
_LAST_LINK = bytes(LINK_SIZE_BYTES)

Advance = Callable[[int], None]
"""Told the number of bytes just worked through."""


class ImageSource(Protocol):
    """An image that can be read in order; `signer.packages.firmware_input.FirmwareImage` is one."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` with the image from `offset` on; raises InputRefused."""


class Payload(msgspec.Struct, frozen=True):
    """What the head says about the payload written: 32 bytes each."""

    image_digest: bytes
    first_link: bytes


def write_payload(
    image: ImageSource, image_salt: bytes, content_key: bytes | None, file: NewFile, advance: Advance
) -> Payload:
    """Write the chunks behind the place of the head (docs/spec/package.md, sections 4 to 6).

    Without a content key the chunks carry the image itself. Advances by the image's size twice. Raises OutputError and
    what the image raises.
    """
    image_digest = _write_ciphertext(image, image_salt, content_key, file, advance)
    return Payload(image_digest, _link_chunks(image.size_bytes, file, advance))


def _write_ciphertext(
    image: ImageSource, image_salt: bytes, content_key: bytes | None, file: NewFile, advance: Advance
) -> bytes:
    image_hash = hashlib.sha256(_IMAGE_CONTEXT + image_salt)
    encryptor = None if content_key is None else _aes_256_ctr(content_key)
    plaintext = memoryview(bytearray(min(_BLOCK_SIZE_BYTES, image.size_bytes)))
    # update_into demands room for one AES block more than it writes.
    ciphertext = memoryview(bytearray(plaintext.nbytes + 15))
    for offset in range(0, image.size_bytes, _BLOCK_SIZE_BYTES):
        size_bytes = min(_BLOCK_SIZE_BYTES, image.size_bytes - offset)
        block = plaintext[:size_bytes]
        image.read_into(offset, block)
        with _hashed_meanwhile(image_hash, block):
            if encryptor is not None:
                encryptor(block, ciphertext)
                block = ciphertext[:size_bytes]
            file.write_at(HEAD_SIZE_BYTES + offset, block)
        advance(size_bytes)
    return image_hash.digest()


@contextmanager
def _hashed_meanwhile(state: hashlib._Hash, block: memoryview) -> Iterator[None]:
    """Hash `block` on another processor while it is encrypted and written: hashlib lets other threads run meanwhile."""
    thread = Thread(target=state.update, args=(block,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _link_chunks(image_size_bytes: int, file: NewFile, advance: Advance) -> bytes:
    """Move the ciphertext to its chunks, from the last block to the first; returns the first link."""
    # One link's room before the block: the hash of chunk i takes its prefix (context and index) from the 20 bytes
    # before it, and its own link is then written over them, for that is where chunk i - 1 ends.
    wire = bytearray(LINK_SIZE_BYTES + _BLOCK_CHUNKS * WIRE_CHUNK_SIZE_BYTES)
    view = memoryview(wire)
    link = _LAST_LINK
    for block_index in range((image_size_bytes - 1) // _BLOCK_SIZE_BYTES, -1, -1):
        offset = block_index * _BLOCK_SIZE_BYTES
        data_size_bytes = min(_BLOCK_SIZE_BYTES, image_size_bytes - offset)
        starts = range(
            LINK_SIZE_BYTES,
            LINK_SIZE_BYTES + chunk_count(data_size_bytes) * WIRE_CHUNK_SIZE_BYTES,
            WIRE_CHUNK_SIZE_BYTES,
        )
        sizes = [CHUNK_SIZE_BYTES] * (len(starts) - 1) + [(data_size_bytes - 1) % CHUNK_SIZE_BYTES + 1]
        file.read_at(
            HEAD_SIZE_BYTES + offset, [view[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        )
        end = starts[-1] + sizes[-1] + LINK_SIZE_BYTES
        wire[end - LINK_SIZE_BYTES : end] = link
        link = _link_block(wire, view[:end], block_index * _BLOCK_CHUNKS, starts)
        file.write_at(HEAD_SIZE_BYTES + block_index * _BLOCK_CHUNKS * WIRE_CHUNK_SIZE_BYTES, view[LINK_SIZE_BYTES:end])
        advance(data_size_bytes)
    return link


def _link_block(wire: bytearray, view: memoryview, first_index: int, starts: range) -> bytes:
    """Hash the chunks of one block from the last to the first, each link into the end of the chunk before."""
    link = b""
    end = view.nbytes
    for number in range(len(starts) - 1, -1, -1):
        start = starts[number]
        _CHUNK_PREFIX.pack_into(wire, start - _CHUNK_PREFIX.size, _CHUNK_CONTEXT, first_index + number)
        link = hashlib.sha256(view[start - _CHUNK_PREFIX.size : end]).digest()
        wire[start - LINK_SIZE_BYTES : start] = link
        end = start
    return link


def _aes_256_ctr(content_key: bytes) -> Callable[[memoryview, memoryview], int]:
    """SP 800-38A, section 6.5, with the 128-bit big-endian counter block beginning at zero."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    # The counter begins at zero for every package: each has a content key of its own, which the ledger sees to.
    return Cipher(algorithms.AES256(content_key), modes.CTR(bytes(16))).encryptor().update_into


def verify_chunk(index: int, chunk: memoryview, expected_link: bytes) -> bool:
    """Whether a chunk on the wire (data and next link) is the one the chain demands."""
    link_hash = hashlib.sha256(_CHUNK_PREFIX.pack(_CHUNK_CONTEXT, index))
    link_hash.update(chunk)
    return link_hash.digest() == expected_link
