"""Journal vectors about halves and slots: what is a record, which records remain, which half is active."""

from __future__ import annotations

from collections.abc import Iterator

from tests.vectors.generator.journal import (
    ERASED,
    RECORD_TYPES,
    SLOT_SIZE_BYTES,
    USED_MARK,
    HalfWriter,
    half_header,
    padded,
    record_fields,
    record_header,
)
from tests.vectors.generator.journal_case import (
    APPLICATION_REGION,
    BOOTLOADER_B_REGION,
    LOCKED,
    OPERATIONAL,
    JournalCase,
    boot_confirmed,
    boot_trial,
    device,
    event,
    floors,
    head_hash,
    install_started,
    installed,
    read,
    started_half,
)
from tests.vectors.generator.keys import key
from tests.vectors.generator.primitives import derived_bytes, u32
from tests.vectors.generator.world import DEVICE_BUNDLE

ERASED_SLOT = ERASED * SLOT_SIZE_BYTES
SECOND_RECORD_OFFSET = started_half().offset


def whole() -> Iterator[JournalCase]:
    """Halves written without a fault."""
    private = [key(name).private.to_bytes(32, "big") for name in ("device-1-identity", "device-1-agreement")]
    writer = HalfWriter(1)
    writer.append("DEVICE", device(LOCKED))
    writer.append("TRUST_BUNDLE", DEVICE_BUNDLE.file)
    writer.append("BOOT_CONFIRMED", boot_confirmed(0, "copy a"))
    writer.append("DEVICE", device(OPERATIONAL, flags=1))
    writer.append("DEVICE_KEYS", b"".join(private))
    writer.append("GROUP_KEY", key("group-lot-1-agreement").private.to_bytes(32, "big"))
    writer.append("SEAL")
    writer.append("INSTALL_STARTED", install_started(APPLICATION_REGION, "first"))
    writer.append("INSTALLED", installed("first"))
    writer.append("APP_CONFIRMED", head_hash("first"))
    writer.append("FLOORS", floors(10, 3, 1))
    writer.append("EVENT", event(0, 1, 1))
    writer.append("INSTALL_STARTED", install_started(BOOTLOADER_B_REGION, "copy b"))
    writer.append("BOOT_TRIAL", boot_trial(1, 0, "copy b"), used_marks=1)
    yield read("whole-half", "nearly every kind of record, written without a fault", writer)
    yield read("no-records", "a header and nothing behind it", HalfWriter(1))
    writer = started_half()
    for length in (0, 1, 15, 16, 17, 2560):
        writer.append_unknown(200 + length % 5, derived_bytes("unknown", length))
    writer.append("FLOORS", floors(2, 2, 2))
    yield read("unknown-types", "records of unknown types, up to the longest: kept, not applied, skipped whole", writer)
    writer = started_half()
    half_size_bytes = writer.offset + 3 * SLOT_SIZE_BYTES
    writer.append("GROUP_KEY", key("group-lot-1-agreement").private.to_bytes(32, "big"))
    yield read("full-half", "the last record ends where the half ends", writer, half_size_bytes)


def headers() -> Iterator[JournalCase]:
    """Halves that can and that cannot be read."""
    writer = started_half()
    rest = writer.content[SLOT_SIZE_BYTES:]
    of_seven, of_six = half_header(7), half_header(6)
    rows = (
        ("header-torn", half_header(1)[:12] + ERASED * 4 + rest, "the last unit of the header is blank"),
        ("header-bit", half_header(1)[:15] + bytes((half_header(1)[15] ^ 1,)) + rest, "one bit of the check differs"),
        ("header-check-of-another-sequence", of_seven[:8] + of_six[8:] + rest, "the check belongs to another sequence"),
        ("header-other-magic", half_header(1, b"SRJ0") + rest, "another magic, with the right check"),
        ("halves-erased", b"", "nothing was ever written"),
    )
    for name, half, words in rows:
        yield JournalCase(name, words, (half, b""), None, None)
    halves = (rows[0][1], writer.content)
    yield JournalCase("header-torn-in-one-half", "the other half is read", halves, 1, writer)


def active_halves() -> Iterator[JournalCase]:
    """Both halves can be read: which one is active."""
    sequences = (("", 5, 6), ("-256-over-255", 0xFF, 0x100), ("-greatest-over-1", 1, 0xFFFFFFFF))
    for suffix, low, high in sequences:
        old, new = started_half(low), started_half(high)
        old.append("MOVED", u32(high))
        new.append("FLOORS", floors(6, 6, 6))
        words = f"half {low} says it moved to half {high}, which has not taken over yet"
        yield JournalCase(f"moved{suffix}", words, (old.content, new.content), 1, new)
    old, new = started_half(5), started_half(6)
    yield JournalCase("neither-moved-nor-taken", "a compaction was cut", (old.content, new.content), 0, old)
    yield JournalCase("neither-exchanged", "the same, halves exchanged", (new.content, old.content), 1, old)
    old.append("MOVED", u32(7))
    yield JournalCase("moved-to-another", "moved to a half that is not there", (old.content, new.content), 0, old)
    old, new = started_half(5), started_half(6)
    new.append("TAKEN", u32(5))
    yield JournalCase("taken", "half 6 has taken over from half 5", (new.content, old.content), 0, new)
    new.append("EVENT", event(0, 1, 1))
    yield JournalCase("taken-and-written-on", "and has been written to since", (new.content, old.content), 0, new)
    old, new = started_half(5), started_half(6)
    old.append("MOVED", u32(6))
    old.append("MOVED", u32(6), number=2)
    old.append("SEAL")
    yield JournalCase("moved-repeated-and-sealed", "MOVED, its copy, a SEAL", (old.content, new.content), 1, new)
    old = started_half(5)
    old.append("MOVED", u32(6))
    old.append("FLOORS", floors(1, 1, 1), number=2)
    yield JournalCase("moved-removed", "a record of the same number removes MOVED", (old.content, new.content), 0, old)
    old = started_half(5)
    old.append("MOVED", u32(6))
    old.append("FLOORS", floors(1, 1, 1))
    yield JournalCase("moved-not-last", "a record behind MOVED: it is not the last", (old.content, new.content), 0, old)
    old, new = started_half(5), started_half(6)
    new.append("TAKEN", u32(5))
    new.append("FLOORS", floors(1, 1, 1), number=2)
    yield JournalCase("taken-removed", "a record of the same number removes TAKEN", (old.content, new.content), 0, old)
    lone = started_half(6)
    yield JournalCase("high-alone", "one half can be read, whatever it says", (b"", lone.content), 1, lone)


def numbers() -> Iterator[JournalCase]:
    """Which of the valid records remain."""
    rows: tuple[tuple[str, str, tuple[int, ...]], ...] = (
        ("ascending", "every number is greater: all remain", (2, 3, 7)),
        ("same", "the same number twice: the first of the two is removed", (2, 3, 3)),
        ("lower", "a lower number removes the record before it, and no other", (2, 3, 4, 2)),
        ("three-times", "the same number three times: the last remains", (2, 2, 2)),
        ("two-torn", "two numbers seen again, one after the other", (2, 3, 2, 3)),
        ("byte-order", "0x0100 is greater than 0x00FF", (0xFF, 0x100)),
        ("first-removed", "the first record itself is removed", (1, 2)),
    )
    for name, words, listed in rows:
        writer = started_half()
        for count, number in enumerate(listed):
            writer.append("INSTALL_STARTED", install_started(1 + count % 3, f"number {count}"), number=number)
        yield read(f"numbers-{name}", words, writer)
    writer = started_half()
    for number in (2, 2):
        writer.append("FLOORS", floors(2, 2, 2), number=number)
    writer.append("SEAL")
    yield read("settled", "the last record, its copy and a SEAL", writer)
    writer.append("EVENT", event(0, 1, 1))
    yield read("settled-and-written-on", "a record behind the SEAL: to be settled again", writer)
    writer = started_half()
    writer.append("SEAL")
    writer.append("FLOORS", floors(2, 2, 2), number=1)
    yield read("removed-across-a-seal", "a SEAL between two records is passed over", writer)
    for name, words, number in (
        ("smaller", "a SEAL with a smaller number removes the record before it, and no other", 2),
        ("same", "a SEAL with the same number removes nothing", 3),
        ("greater", "a SEAL with a greater number removes nothing", 4),
    ):
        writer = started_half()
        writer.append("INSTALL_STARTED", install_started(1, "number 2"), number=2)
        writer.append("INSTALL_STARTED", install_started(2, "number 3"), number=3)
        writer.append("SEAL", number=number)
        yield read(f"seal-number-{name}", words, writer)
    writer = started_half()
    writer.append("SEAL")
    writer.append_raw(ERASED_SLOT + b"\x00\x00\x00\x00" + ERASED * 12)
    yield read("settled-not-blank-behind", "something torn behind the SEAL: to be settled again", writer)
    writer = started_half()
    writer.append("SEAL")
    writer.append_raw(ERASED_SLOT + b"\x00\x00\x00\x00" + ERASED * 12 + bytes(2 * SLOT_SIZE_BYTES))
    writer.append("SEAL")
    yield read("sealed-again-once", "a SEAL behind something torn may be torn itself: to be settled again", writer)
    writer.append("SEAL")
    yield read("sealed-again-twice", "two SEALs behind something torn: settled", writer)


def followed(name: str, description: str, slots: bytes) -> JournalCase:
    """A vector with these slots behind its first record, in which there is no record, and then a record.

    That record's number is high enough to remove nothing: a record wrongly found in the slots would remain.
    """
    writer = started_half()
    writer.append_raw(slots)
    writer.append("FLOORS", floors(5, 3, 2), number=4)
    return read(name, description, writer)


def torn() -> Iterator[JournalCase]:
    """What a power cut leaves, with a record behind it."""
    at, payload = SECOND_RECORD_OFFSET, floors(4, 3, 2)
    header = record_header(record_fields(RECORD_TYPES["FLOORS"], 2, payload), 1, at, payload)
    bundle_fields = record_fields(RECORD_TYPES["TRUST_BUNDLE"], 2, DEVICE_BUNDLE.file)
    long_header = record_header(bundle_fields, 1, at, DEVICE_BUNDLE.file)
    fewer_bits = bytes((payload[0] | 8,)) + payload[1:]
    blank_end = ERASED * 4
    rows = (
        ("payload-only", "a payload without its header", ERASED_SLOT + padded(payload)),
        ("check-incomplete", "the header's last unit is blank", header[:12] + blank_end + padded(payload)),
        ("payload-bit", "one bit of the payload is not programmed", header + padded(fewer_bits)),
        ("fence", "a fence of two slots of zeros", bytes(2 * SLOT_SIZE_BYTES)),
        ("long-record", "a torn header that claims 2,304 bytes hides nothing", long_header[:12] + blank_end),
    )
    for name, words, slots in rows:
        yield followed(f"torn-{name}", words, slots)
    writer = started_half()
    writer.append_raw(ERASED_SLOT + padded(payload))
    yield read("torn-at-the-end", "a payload without its header, and nothing behind: the end is behind it", writer)


def malformed() -> Iterator[JournalCase]:
    """Slots that pass one check or the other and still are no record."""
    at, payload, kind = SECOND_RECORD_OFFSET, floors(4, 3, 2), RECORD_TYPES["FLOORS"]
    seal = record_fields(RECORD_TYPES["SEAL"], 1, b"")
    yield followed("copy-from-another-offset", "valid at another offset", record_header(seal, 1, at + 16, b""))
    yield followed("copy-from-another-half", "of the half with sequence 2", record_header(seal, 2, at, b""))
    other_length = record_fields(kind, 2, payload[:11])
    slots = record_header(other_length, 1, at, payload) + padded(payload)
    yield followed("record-length-wrong", "another length than was checked", slots)
    other_number = record_fields(kind, 3, payload) + record_header(record_fields(kind, 2, payload), 1, at, payload)[8:]
    yield followed("record-number-changed", "another number than was checked", other_number + padded(payload))
    too_long = derived_bytes("too long", 2561)
    header = record_header(record_fields(200, 2, too_long), 1, at, too_long)
    yield followed("record-length-2561", "a payload longer than 2,560 bytes", header + padded(too_long))
    for name, read_as in (("as-erased", bytes(16) + ERASED * 16), ("cut-off", bytes(16))):
        writer, half_size_bytes = started_half(), 128
        writer.append_raw(ERASED_SLOT * ((half_size_bytes - writer.offset) // SLOT_SIZE_BYTES - 2))
        fields = record_fields(200, 2, bytes(32))
        writer.append_raw(record_header(fields, 1, writer.offset, read_as) + bytes(16))
        words = f"the last record claims 16 bytes more than the half has; its check takes them {name}"
        yield read(f"record-beyond-the-half-{name}", words, writer, half_size_bytes)


def nested() -> Iterator[JournalCase]:
    """A record whose payload looks like a record, and records in the place of marks."""
    seal = record_fields(RECORD_TYPES["SEAL"], 2, b"")
    writer = started_half()
    inner = record_header(seal, 1, writer.offset + SLOT_SIZE_BYTES, b"")
    writer.append_unknown(200, inner)
    yield read(
        "record-inside-a-record", "a valid record is skipped over whole, whatever its payload looks like", writer
    )
    writer = started_half()
    writer.append_raw(ERASED_SLOT)
    writer.append("FLOORS", floors(9, 9, 9))
    words = "where a header was not written, its payload's slots are read one by one"
    yield read("record-after-a-torn-header", words, writer)


def marks() -> Iterator[JournalCase]:
    """BOOT_TRIAL: attempts in its payload and in its marks."""
    for attempts, used in ((0, 0), (0, 1), (0, 2), (0, 3), (2, 1)):
        writer = started_half()
        writer.append("BOOT_TRIAL", boot_trial(1, attempts, "trial"), used_marks=used)
        words = f"{attempts} attempts in the payload, {used} in the marks, nothing behind"
        yield read(f"boot-trial-{attempts}-and-{used}", words, writer)
    writer = started_half()
    writer.append("BOOT_TRIAL", boot_trial(0, 0, "trial"), used_marks=1)
    writer.append("EVENT", event(0, 1, 1))
    yield read("boot-trial-written-on", "a record behind the marks", writer)
    writer = started_half()
    writer.append("BOOT_TRIAL", boot_trial(1, 0, "trial"), used_marks=2)
    writer.append("SEAL")
    yield read("boot-trial-sealed", "a SEAL behind the marks: settled, whatever marks are used later", writer)
    writer = started_half()
    writer.append("BOOT_TRIAL", boot_trial(0, 0, "trial"))
    writer.append("EVENT", event(0, 1, 1))
    writer.append_raw(USED_MARK * 2)
    yield read("boot-trial-no-fourth-mark", "what stands behind the three marks counts no attempt", writer)
    writer = started_half()
    writer.append("BOOT_TRIAL", boot_trial(1, 0, "trial"), used_marks=2, blank_marks=1)
    yield read("boot-trial-torn-mark", "a mark that reads blank before one that is used counts", writer)


def cases() -> Iterator[JournalCase]:
    """All of this file."""
    yield from whole()
    yield from headers()
    yield from active_halves()
    yield from numbers()
    yield from torn()
    yield from malformed()
    yield from nested()
    yield from marks()
