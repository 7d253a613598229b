"""Device objects put together byte by byte from the tables of docs/spec/: an oracle sharing nothing with signer/."""

from __future__ import annotations

import hashlib
from typing import Any

LOT_POINT = bytes.fromhex(
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
"""The base point of P-256 (SP 800-186, section 3.2.1.3), which is surely on the curve."""

TWICE_POINT = bytes.fromhex(
    "7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978"
    "07775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1"
)
"""Twice the base point."""


def at(size_bytes: int, *placed: tuple[int, bytes]) -> bytearray:
    """Zeros, with bytes written at offsets."""
    data = bytearray(size_bytes)
    for offset, content in placed:
        data[offset : offset + len(content)] = content
    return data


def u(value: int, size_bytes: int) -> bytes:
    """Little-endian."""
    return value.to_bytes(size_bytes, "little")


def digest(name: bytes, signed_part: bytes | bytearray) -> bytes:
    """SHA-256( context ‖ object up to its signature )."""
    return hashlib.sha256(name + bytes(16 - len(name)) + signed_part).digest()


def work_order(**changed: Any) -> bytearray:
    """A signed work order (with a signature that verifies under nothing); `changed` overrides fields."""
    value: dict[str, Any] = {
        "inject": 0,
        "order_id": bytes(range(1, 17)),
        "product_id": bytes(range(17, 33)),
        "lot": b"LOT-2026-11",
        "quota": 300,
        "bundle": 2,
        "not_before": 1_795_000_000,
        "not_after": 1_800_000_000,
        "protection": 0b01101,
        "revisions": (3, 5),
        "station_count": 2,
        "lot_key": LOT_POINT,
        "group_key": bytes(64),
        "issuing_ca": bytes(range(64, 96)),
        "stations": (b"\x10" * 32 + u(100, 4), b"\x20" * 32 + u(200, 4)),
        "signer": bytes(range(200, 208)),
        "signature": bytes(range(1, 65)),
    } | changed
    return at(
        640,
        (0, b"SRW1"),
        (4, u(1, 2)),
        (6, u(1, 1)),
        (7, u(value["inject"], 1)),
        (8, value["order_id"]),
        (24, value["product_id"]),
        (40, value["lot"]),
        (56, u(value["quota"], 4)),
        (60, u(value["bundle"], 4)),
        (64, u(value["not_before"], 8)),
        (72, u(value["not_after"], 8)),
        (80, u(value["protection"], 2)),
        (82, u(value["revisions"][0], 2)),
        (84, u(value["revisions"][1], 2)),
        (86, u(value["station_count"], 1)),
        (88, value["lot_key"]),
        (152, value["group_key"]),
        (216, value["issuing_ca"]),
        (248, b"".join(value["stations"])),
        (536, value["signer"]),
        (576, value["signature"]),
    )


def injected_key(ephemeral: bytes, wrapped: bytes) -> bytes:
    """The 224 bytes of an injected key."""
    return bytes(at(224, (0, ephemeral), (64, u(len(wrapped), 2)), (72, wrapped)))


def activation(**changed: Any) -> bytearray:
    """A signed activation (with a signature that verifies under nothing); `changed` overrides fields."""
    value: dict[str, Any] = {
        "injected": 0,
        "uid": b"UID-000000001234",
        "nonce": bytes(range(32)),
        "order_digest": bytes(range(32, 64)),
        "station": b"\x10" * 32,
        "sequence": 7,
        "bundle": 2,
        "identity": bytes(range(64, 96)),
        "agreement": bytes(range(96, 128)),
        "certificate": bytes(range(128, 160)),
        "serial": b"(01)04012345678901(21)0007",
        "group_key": bytes(224),
        "agreement_key": bytes(288),
        "signature": bytes(range(1, 65)),
    } | changed
    return at(
        864,
        (0, b"SRA1"),
        (4, u(1, 2)),
        (6, u(1, 1)),
        (7, u(value["injected"], 1)),
        (8, value["uid"]),
        (24, value["nonce"]),
        (56, value["order_digest"]),
        (88, value["station"]),
        (120, u(value["sequence"], 4)),
        (124, u(value["bundle"], 4)),
        (128, value["identity"]),
        (160, value["agreement"]),
        (192, value["certificate"]),
        (224, value["serial"]),
        (256, value["group_key"]),
        (480, value["agreement_key"]),
        (800, value["signature"]),
    )


def service_order(**changed: Any) -> bytearray:
    """A signed service order (with a signature that verifies under nothing); `changed` overrides fields."""
    value: dict[str, Any] = {
        "action": 1,
        "uid": b"UID-000000001234",
        "nonce": bytes(range(32)),
        "product_id": bytes(range(17, 33)),
        "lot": b"",
        "revision": 0,
        "floors": (0, 0, 0),
        "signer": bytes(range(200, 208)),
        "signature": bytes(range(1, 65)),
    } | changed
    return at(
        256,
        (0, b"SRV1"),
        (4, u(1, 2)),
        (6, u(1, 1)),
        (7, u(value["action"], 1)),
        (8, value["uid"]),
        (24, value["nonce"]),
        (56, value["product_id"]),
        (72, value["lot"]),
        (88, u(value["revision"], 2)),
        (92, b"".join(u(floor, 4) for floor in value["floors"])),
        (104, value["signer"]),
        (192, value["signature"]),
    )
