"""Journal vectors: what stands in the two halves, and what a reader must find there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.vectors.generator.journal import (
    ERASED,
    RECORD_TYPES,
    SLOT_SIZE_BYTES,
    HalfWriter,
    half_header,
    padded,
    record_header,
)
from tests.vectors.generator.keys import key
from tests.vectors.generator.primitives import derived_bytes, u16, u32
from tests.vectors.generator.world import DEVICE_BUNDLE, LOT, PRODUCT

HALF_SIZE_BYTES = 16 * 1024
VOID_HALF = half_header(0, b"SRJ0")
ERASED_SLOT = ERASED * SLOT_SIZE_BYTES
LOCKED, OPERATIONAL = 0x3C, 0xA5
APPLICATION_REGION, BOOTLOADER_A_REGION, BOOTLOADER_B_REGION = 1, 2, 3


@dataclass(frozen=True, slots=True)
class JournalCase:
    """`halves` are the bytes from the front of each half; the rest is erased. `active` is the one to be read."""

    name: str
    description: str
    halves: tuple[bytes, bytes]
    active: int | None
    writer: HalfWriter | None
    half_size_bytes: int = HALF_SIZE_BYTES


def device(lifecycle: int, flags: int = 0) -> bytes:
    """Payload of DEVICE."""
    return PRODUCT + u16(3) + bytes((lifecycle, flags)) + LOT


def head_hash(label: str) -> bytes:
    """Something that stands for the hash of a head."""
    return derived_bytes(f"Strongroom test head hash {label}", 32)


def installed(label: str) -> bytes:
    """Payload of INSTALLED."""
    fixed = bytes((1, 0, 0, 0)) + u32(10) + bytes((1, 2)) + u16(255) + u32(7)
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


def started_half(half_sequence: int = 1) -> HalfWriter:
    """A half with a first record, as most vectors begin."""
    writer = HalfWriter(half_sequence)
    writer.append("DEVICE", device(OPERATIONAL))
    return writer


def read(name: str, description: str, writer: HalfWriter) -> JournalCase:
    """A vector whose half 0 is read; half 1 is void."""
    return JournalCase(name, description, (writer.content, VOID_HALF), 0, writer)


def kinds() -> Iterator[JournalCase]:
    """Whole halves."""
    writer = HalfWriter(1)
    private = key("device-1-identity").private.to_bytes(32, "big") + key("device-1-agreement").private.to_bytes(
        32, "big"
    )
    for kind, payload in (
        ("DEVICE", device(LOCKED)),
        ("TRUST_BUNDLE", DEVICE_BUNDLE.file),
        ("BOOT_CONFIRMED", boot_confirmed(0, "copy a")),
        ("DEVICE", device(OPERATIONAL, flags=1)),
        ("DEVICE_KEYS", private),
        ("GROUP_KEY", key("group-lot-1-agreement").private.to_bytes(32, "big")),
        ("SEAL", b""),
        ("INSTALL_STARTED", install_started(APPLICATION_REGION, "first")),
        ("INSTALLED", installed("first")),
        ("APP_TRIAL", app_trial(0, "first")),
        ("APP_CONFIRMED", head_hash("first")),
        ("FLOORS", floors(10, 3, 1)),
        ("EVENT", event(0, 1, 1)),
        ("INSTALL_STARTED", install_started(BOOTLOADER_B_REGION, "copy b")),
        ("BOOT_TRIAL", boot_trial(1, 0, "copy b")),
    ):
        writer.append(kind, payload)
    yield read("every-kind", "every kind of record once or twice, written without a fault", writer)
    empty = HalfWriter(1)
    yield read("no-records", "headers and nothing behind them", empty)
    writer = started_half()
    for length in (0, 1, 15, 16, 17, 2560):
        writer.append(200, derived_bytes("unknown", length))
    writer.append("FLOORS", floors(2, 2, 2))
    yield read(
        "unknown-type", "records of unknown type 200, up to the longest: kept, not applied, skipped whole", writer
    )
    writer = started_half()
    while writer.offset + 64 <= 1024:
        writer.append("INSTALL_STARTED", install_started(APPLICATION_REGION, str(writer.offset)))
    writer.append("SEAL")
    filler = 1024 - writer.offset
    if filler:
        writer.append(200, bytes(filler - SLOT_SIZE_BYTES))
    yield JournalCase(
        "full-half", "the last record ends where the half ends", (writer.content, VOID_HALF), 0, writer, 1024
    )


def headers() -> Iterator[JournalCase]:
    """Which half is read."""
    whole = started_half()
    slots = whole.content[: 2 * SLOT_SIZE_BYTES]
    torn = slots[:12] + ERASED * 4
    rest = whole.content[32:]
    yield JournalCase(
        "header-0-torn", "the first copy of the header is torn", (torn + slots[16:] + rest, VOID_HALF), 0, whole
    )
    yield JournalCase(
        "header-1-blank",
        "the second copy of the header is blank",
        (slots[:16] + ERASED_SLOT + rest, VOID_HALF),
        0,
        whole,
    )
    yield JournalCase(
        "headers-both-torn", "both copies of the header are torn", (torn + torn + rest, VOID_HALF), None, None
    )
    yield JournalCase("halves-erased", "nothing was ever written", (b"", b""), None, None)
    yield JournalCase("halves-void", "both halves are void", (VOID_HALF * 2, VOID_HALF), None, None)
    wrong = half_header(7)[:8] + half_header(6)[8:]
    yield JournalCase(
        "header-check-of-another-sequence", "the check belongs to another sequence", (wrong * 2 + rest, b""), None, None
    )
    wrong = half_header(1)[:8] + half_header(1, b"SRJ0")[8:]
    yield JournalCase("header-check-of-void", "the check belongs to a void header", (wrong * 2 + rest, b""), None, None)
    for low, high in ((5, 6), (0xFF, 0x100), (1, 0xFFFFFFFF)):
        older, newer = started_half(low), started_half(high)
        newer.append("FLOORS", floors(high & 0xFF, 1, 1))
        name = f"sequence-{high}-over-{low}"
        yield JournalCase(name, "the half with the greater sequence is read", (older.content, newer.content), 1, newer)
    older, newer = started_half(5), started_half(6)
    halves = (older.content, newer.content[:12] + ERASED * 20 + newer.content[32:])
    yield JournalCase("newer-half-torn-header", "compaction was cut while writing the header", halves, 0, older)


def followed(name: str, description: str, slots: bytes) -> JournalCase:
    """A vector with these slots behind its first record, in which there is no record, and then a record."""
    writer = started_half()
    writer.append_raw(slots)
    writer.append("FLOORS", floors(5, 3, 2))
    return read(name, description, writer)


SECOND_RECORD_OFFSET = started_half().offset


def torn() -> Iterator[JournalCase]:
    """What a power cut leaves, with a record behind it."""
    at, payload = SECOND_RECORD_OFFSET, floors(4, 3, 2)
    header = record_header(RECORD_TYPES["FLOORS"], 1, at, payload)
    long_header = record_header(RECORD_TYPES["TRUST_BUNDLE"], 1, at, DEVICE_BUNDLE.file)
    fewer_bits = bytes((payload[0] | 8,)) + payload[1:]
    blank_end = ERASED * 4
    rows = (
        ("payload-only", "a payload without its header", ERASED_SLOT + padded(payload)),
        ("check-incomplete", "the header's last unit is blank", header[:12] + blank_end + padded(payload)),
        ("payload-bit", "one bit of the payload is not programmed", header + padded(fewer_bits)),
        ("free-slot", "a slot left free by the first append of a power-on", ERASED_SLOT),
        ("long-record", "a torn header that claims 2,304 bytes hides nothing", long_header[:12] + blank_end),
    )
    for name, words, slots in rows:
        yield followed(f"torn-{name}", words, slots)


def malformed() -> Iterator[JournalCase]:
    """Slots that pass one check or the other and still are no record."""
    at, payload, kind = SECOND_RECORD_OFFSET, floors(4, 3, 2), RECORD_TYPES["FLOORS"]
    seal = RECORD_TYPES["SEAL"]
    yield followed("copy-from-another-offset", "valid at another offset", record_header(seal, 1, at + 16, b""))
    yield followed("copy-from-another-half", "of the half with sequence 2", record_header(seal, 2, at, b""))
    forms = (
        ("format-2", bytes((kind, 2)) + u16(12) + bytes(4), "record format 2"),
        ("reserved-not-zero", bytes((kind, 1)) + u16(12) + b"\x00\x00\x00\x01", "the zero field is not zero"),
        ("length-wrong", bytes((kind, 1)) + u16(11) + bytes(4), "another length than was checked"),
    )
    for name, fields, words in forms:
        yield followed(f"record-{name}", words, record_header(kind, 1, at, payload, fields) + padded(payload))
    too_long = derived_bytes("too long", 2561)
    header = record_header(200, 1, at, too_long)
    yield followed("record-length-2561", "a payload longer than 2,560 bytes", header + padded(too_long))
    writer, half_size_bytes = started_half(), 128
    writer.append_raw(ERASED_SLOT * ((half_size_bytes - writer.offset) // SLOT_SIZE_BYTES - 2))
    writer.append_bare(record_header(200, 1, writer.offset, ERASED * 32), bytes(16))
    words = "the last record claims more bytes than the half has"
    yield JournalCase("record-beyond-the-half", words, (writer.content, VOID_HALF), 0, writer, half_size_bytes)


def nested() -> Iterator[JournalCase]:
    """A record whose payload looks like a record."""
    writer = started_half()
    inner = record_header(RECORD_TYPES["SEAL"], 1, writer.offset + SLOT_SIZE_BYTES, b"")
    writer.append(200, inner)
    yield read(
        "record-inside-a-record", "a valid record is skipped over whole, whatever its payload looks like", writer
    )
    writer = started_half()
    inner_payload = floors(9, 9, 9)
    writer.append_raw(ERASED_SLOT)
    writer.append("FLOORS", inner_payload)
    yield read(
        "record-after-a-torn-header", "where a header was not written, its payload's slots are read one by one", writer
    )


# name, description, records behind the first.
STATES: tuple[tuple[str, str, tuple[tuple[str, bytes], ...]], ...] = (
    (
        "state-install-started",
        "INSTALL_STARTED for the application removes INSTALLED, APP_TRIAL and APP_CONFIRMED",
        (
            ("INSTALLED", installed("old")),
            ("APP_TRIAL", app_trial(2, "old")),
            ("APP_CONFIRMED", head_hash("old")),
            ("INSTALL_STARTED", install_started(APPLICATION_REGION, "new")),
        ),
    ),
    (
        "state-installed",
        "INSTALLED removes APP_TRIAL, APP_CONFIRMED and the application's INSTALL_STARTED alone",
        (
            ("INSTALL_STARTED", install_started(BOOTLOADER_A_REGION, "boot")),
            ("INSTALL_STARTED", install_started(APPLICATION_REGION, "new")),
            ("APP_TRIAL", app_trial(3, "old")),
            ("APP_CONFIRMED", head_hash("old")),
            ("INSTALLED", installed("new")),
        ),
    ),
    (
        "state-attempts",
        "the last of several says what is; a copy of it and a SEAL change nothing",
        (
            ("INSTALLED", installed("new")),
            ("APP_TRIAL", app_trial(1, "new")),
            ("APP_TRIAL", app_trial(2, "new")),
            ("APP_TRIAL", app_trial(2, "new")),
            ("SEAL", b""),
        ),
    ),
    (
        "state-boot-trial-removed",
        "INSTALL_STARTED for bootloader B removes the BOOT_TRIAL of copy B",
        (
            ("BOOT_CONFIRMED", boot_confirmed(0, "a")),
            ("BOOT_TRIAL", boot_trial(1, 1, "b")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_B_REGION, "c")),
        ),
    ),
    (
        "state-boot-trial-kept",
        "INSTALL_STARTED for bootloader A, or for the application, leaves the BOOT_TRIAL of copy B",
        (
            ("BOOT_TRIAL", boot_trial(1, 1, "b")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_A_REGION, "c")),
            ("INSTALL_STARTED", install_started(APPLICATION_REGION, "d")),
        ),
    ),
    (
        "state-boot-confirmed",
        "BOOT_CONFIRMED removes BOOT_TRIAL and the INSTALL_STARTED of its own copy",
        (
            ("BOOT_CONFIRMED", boot_confirmed(0, "a")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_A_REGION, "x")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_B_REGION, "b")),
            ("BOOT_TRIAL", boot_trial(1, 1, "b")),
            ("BOOT_CONFIRMED", boot_confirmed(1, "b")),
        ),
    ),
    (
        "state-events",
        "of 20 events the last 16 are kept",
        tuple(("EVENT", event(203, 2, count)) for count in range(1, 21)),
    ),
)


def states() -> Iterator[JournalCase]:
    """What later records remove."""
    for name, words, records in STATES:
        writer = started_half()
        for kind, payload in records:
            writer.append(kind, payload)
        yield read(name, words, writer)


def cases() -> Iterator[JournalCase]:
    """All of this file."""
    yield from kinds()
    yield from headers()
    yield from torn()
    yield from malformed()
    yield from nested()
    yield from states()
