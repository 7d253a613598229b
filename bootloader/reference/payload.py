"""The payload: chunk chain, content key and image digest (docs/spec/package.md, sections 4 to 6)."""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from typing import Protocol

from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.crypto import AES_KEY_SIZE_BYTES, context, ecdh, hkdf_sha256, public_point, sha256
from bootloader.reference.head import CHUNK_SIZE_BYTES, LINK_SIZE_BYTES, Head, RecipientMode

ZERO_LINK = bytes(LINK_SIZE_BYTES)

_CHUNK_CONTEXT = context("SR-chunk-v1")
_CEK_CONTEXT = context("SR-cek-v1")
_WRAP_CONTEXT = context("SR-wrap-v1")
_IMAGE_CONTEXT = context("SR-image-v1")


class ImageHasher(Protocol):
    """A running SHA-256."""

    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


def chunk_size_on_wire(head: Head, index: int) -> int:
    """Bytes of chunk `index` with its link; the last chunk may be shorter. Raises IndexError beyond the last."""
    if not 0 <= index < head.chunk_count:
        raise IndexError(f"chunk {index} of {head.chunk_count}")
    data_size_bytes = min(CHUNK_SIZE_BYTES, head.image_size_bytes - CHUNK_SIZE_BYTES * index)
    return data_size_bytes + LINK_SIZE_BYTES


def authenticate_chunk(head: Head, index: int, expected_link: bytes, chunk: bytes) -> tuple[bytes, bytes]:
    """The data of a chunk, still encrypted, and the link that the next one must have; raises Refused(CHUNK_HASH).

    `expected_link` is the head's `first_link` for chunk 0, then what the chunk before gave.
    """
    code = DeviceCode.CHUNK_HASH
    require(len(chunk) == chunk_size_on_wire(head, index), code, f"chunk {index} has {len(chunk)} bytes")
    link = sha256(_CHUNK_CONTEXT, index.to_bytes(4, "little"), chunk)
    require(compare_digest(link, expected_link), code, f"chunk {index} is not the one the chain demands")

    data, next_link = chunk[:-LINK_SIZE_BYTES], chunk[-LINK_SIZE_BYTES:]
    if index == head.chunk_count - 1:
        require(next_link == ZERO_LINK, code, "the last chunk does not end the chain")
    return data, next_link


def unwrap_content_key(head: Head, recipient_private: bytes, device_uid: bytes) -> bytes:
    """The content key, for recipient modes 1 and 2; raises Refused(EPHEMERAL_KEY) or Refused(CEK_COMMITMENT).

    `recipient_private` is the device's or the group's agreement key, `device_uid` the device's own UID in 16 bytes.
    Asking for the key of another mode is a defect of the caller (ValueError).
    """
    if head.recipient_mode not in (RecipientMode.DEVICE, RecipientMode.GROUP):
        raise ValueError("the head holds no wrapped content key")
    return _unwrapped(head, recipient_private, head.bound_uid(device_uid), head.ephemeral_public_key, head.wrapped_cek)


def unwrap_granted_key(
    head: Head, agreement_private: bytes, device_uid: bytes, ephemeral_public_key: bytes, wrapped_cek: bytes
) -> bytes:
    """The content key that a grant brought, for recipient mode 3; raises as `unwrap_content_key`.

    Here the device's own UID is always part of the mask: one ephemeral key serves a whole batch (docs/spec/grant.md).
    """
    if head.recipient_mode != RecipientMode.GRANT:
        raise ValueError("the package takes no content key from a grant")
    return _unwrapped(head, agreement_private, device_uid, ephemeral_public_key, wrapped_cek)


def _unwrapped(head: Head, private: bytes, uid: bytes, ephemeral_public_key: bytes, wrapped_cek: bytes) -> bytes:
    shared_secret = ecdh(private, ephemeral_public_key)
    info = b"".join(
        (
            _WRAP_CONTEXT,
            head.product_id,
            head.image_salt,
            bytes([head.recipient_mode]),
            uid,
            ephemeral_public_key,
            public_point(private),
        )
    )
    pad = hkdf_sha256(shared_secret, info, AES_KEY_SIZE_BYTES)
    content_key = bytes(wrapped ^ mask for wrapped, mask in zip(wrapped_cek, pad, strict=True))
    require_committed(head, content_key)
    return content_key


def require_committed(head: Head, content_key: bytes) -> None:
    """The head commits to its content key (section 6); raises Refused(CEK_COMMITMENT) for any other."""
    commitment = sha256(_CEK_CONTEXT, head.image_salt, content_key)
    committed = compare_digest(commitment, head.cek_commitment)
    require(committed, DeviceCode.CEK_COMMITMENT, "the content key is not the one the head commits to")


def image_hasher(head: Head) -> ImageHasher:
    """The salted digest of the plaintext image, begun: update it with exactly `image_size_bytes`."""
    return hashlib.sha256(_IMAGE_CONTEXT + head.image_salt)


def image_digest_matches(head: Head, hasher: ImageHasher) -> bool:
    """Whether what was hashed is the signed image. The caller knows the code: IMAGE_DIGEST, BOOT_DIGEST or none."""
    return compare_digest(hasher.digest(), head.image_digest)
