"""One journal vector: what stands in the two halves, which one is active, and payloads for the records."""

from __future__ import annotations

from dataclasses import dataclass

from tests.vectors.generator.journal import HalfWriter
from tests.vectors.generator.keys import key
from tests.vectors.generator.primitives import derived_bytes, u16, u32
from tests.vectors.generator.world import LOT, PRODUCT

HALF_SIZE_BYTES = 16 * 1024
LOCKED, OPERATIONAL = 0x3C, 0xA5
APPLICATION_REGION, BOOTLOADER_A_REGION, BOOTLOADER_B_REGION = 1, 2, 3


@dataclass(frozen=True, slots=True)
class JournalCase:
    """`halves` are the bytes from the front of each half; the rest is erased. `writer` wrote the active one."""

    name: str
    description: str
    halves: tuple[bytes, bytes]
    active: int | None
    writer: HalfWriter | None
    half_size_bytes: int = HALF_SIZE_BYTES


def started_half(half_sequence: int = 1) -> HalfWriter:
    """A half with a first record, as most vectors begin."""
    writer = HalfWriter(half_sequence)
    writer.append("DEVICE", device(OPERATIONAL))
    return writer


def read(name: str, description: str, writer: HalfWriter, half_size_bytes: int = HALF_SIZE_BYTES) -> JournalCase:
    """A vector whose half 0 is read; half 1 is erased."""
    return JournalCase(name, description, (writer.content, b""), 0, writer, half_size_bytes)


def device(lifecycle: int, flags: int = 0) -> bytes:
    """Payload of DEVICE."""
    return PRODUCT + u16(3) + bytes((lifecycle, flags)) + LOT


def head_hash(label: str) -> bytes:
    """Something that stands for the hash of a head."""
    return derived_bytes(f"Strongroom test head hash {label}", 32)


def installed(label: str, package_type: int = 1) -> bytes:
    """Payload of INSTALLED."""
    fixed = bytes((package_type, 0, 0, 0)) + u32(10) + bytes((1, 2)) + u16(255) + u32(7)
    return fixed + head_hash(label) + derived_bytes(f"upload {label}", 32) + key("app-release-1").public


def install_started(region: int, label: str) -> bytes:
    """Payload of INSTALL_STARTED."""
    return bytes((region, 0, 0, 0)) + head_hash(label)


def app_trial(attempts: int, label: str) -> bytes:
    """Payload of APP_TRIAL."""
    return u32(attempts) + head_hash(label)


def boot_trial(copy: int, attempts: int, label: str) -> bytes:
    """Payload of BOOT_TRIAL."""
    return bytes((copy, attempts, 0, 0)) + head_hash(label)


def boot_confirmed(copy: int, label: str) -> bytes:
    """Payload of BOOT_CONFIRMED."""
    return bytes((copy, 0, 0, 0)) + head_hash(label)


def floors(application: int, bootloader: int, factory_test: int) -> bytes:
    """Payload of FLOORS."""
    return u32(application) + u32(bootloader) + u32(factory_test)


def event(code: int, kind: int, count: int) -> bytes:
    """Payload of EVENT."""
    return u16(code) + bytes((kind, 0)) + u32(count)
