"""A second encoder and a reader of packages, from docs/spec/package.md alone, with offsets as numbers.

It is slow and plain on purpose, and imports nothing of the signer: what it shares with the encoder is the text.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class OpenedPackage(NamedTuple):
    image: bytes
    content_key: bytes | None
    trailer: bytes


class PayloadMade(NamedTuple):
    image_digest: bytes
    first_link: bytes
    payload: bytes


def padded(text: str) -> bytes:
    return text.encode("ascii") + bytes(16 - len(text))


def make_payload(image: bytes, salt: bytes, content_key: bytes | None) -> PayloadMade:
    data = image if content_key is None else ctr(content_key, image)
    pieces = [data[begin : begin + 4096] for begin in range(0, len(data), 4096)]
    link = bytes(32)
    wire: list[bytes] = []
    for index in reversed(range(len(pieces))):
        wire.insert(0, pieces[index] + link)
        link = hashlib.sha256(padded("SR-chunk-v1") + struct.pack("<I", index) + pieces[index] + link).digest()
    digest = hashlib.sha256(padded("SR-image-v1") + salt + image).digest()
    return PayloadMade(digest, link, b"".join(wire))


def make_signed_bytes(fields: dict[int, bytes]) -> bytes:
    """448 zero bytes with the given fields at the given offsets; a field that overlaps another fails."""
    signed = bytearray(448)
    taken: set[int] = set()
    for offset, value in fields.items():
        places = set(range(offset, offset + len(value)))
        assert not places & taken
        assert offset + len(value) <= 448
        taken |= places
        signed[offset : offset + len(value)] = value
    return bytes(signed)


def wrap(content_key: bytes, info: bytes, shared_x: bytes) -> bytes:
    mask = HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(shared_x)
    return bytes(a ^ b for a, b in zip(content_key, mask, strict=True))


def ctr(key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def ecdh_x(private: ec.EllipticCurvePrivateKey, point: bytes) -> bytes:
    return private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point))


def open_package(
    package: bytes, recipient: ec.EllipticCurvePrivateKey | None, recipient_point: bytes = b""
) -> OpenedPackage:
    """Decrypt a package as its recipient would, and check every digest on the way."""
    head = package[:1024]
    salt = head[112:144]
    image_size, payload_size = struct.unpack_from("<I", head, 76)[0], struct.unpack_from("<I", head, 180)[0]
    payload, trailer = package[1024 : 1024 + payload_size], package[1024 + payload_size :]
    data = _follow_chain(payload, image_size, head[184:216])
    content_key = None
    image = data
    if head[93]:
        assert recipient is not None
        info = padded("SR-wrap-v1") + head[40:56] + salt + head[93:94] + head[96:112] + head[248:312] + recipient_point
        content_key = wrap(head[312:344], info, ecdh_x(recipient, head[248:312]))
        assert hashlib.sha256(padded("SR-cek-v1") + salt + content_key).digest() == head[216:248]
        image = ctr(content_key, data)
    assert hashlib.sha256(padded("SR-image-v1") + salt + image).digest() == head[144:176]
    return OpenedPackage(image, content_key, trailer)


def _follow_chain(payload: bytes, image_size: int, link: bytes) -> bytes:
    data = b""
    position = 0
    for index in range((image_size + 4095) // 4096):
        size = min(4096, image_size - 4096 * index)
        chunk = payload[position : position + size + 32]
        position += size + 32
        assert hashlib.sha256(padded("SR-chunk-v1") + struct.pack("<I", index) + chunk).digest() == link
        data += chunk[:size]
        link = chunk[size:]
    assert link == bytes(32)
    assert position == len(payload)
    return data


def signed_digest(head: bytes) -> bytes:
    context = {1: "SR-pkg-app-v1", 2: "SR-pkg-boot-v1", 3: "SR-pkg-test-v1"}[head[38]]
    uid = head[96:112] if head[92] == 1 else bytes(16)
    return hashlib.sha256(padded(context) + uid + head[:448]).digest()
