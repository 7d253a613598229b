"""Journal halves from `docs/spec/device-state.md`, sections 1 and 2: slots, headers and records, whole or torn.

`HalfWriter` puts bytes down and notes what a reader must take; the functions behind it say what follows from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.vectors.generator.primitives import context, sha256, u16, u32

SLOT_SIZE_BYTES = 16
MARK_COUNT = 3
ERASED = b"\xff"
MARK_SIZE_BYTES = 8
USED_MARK = bytes(4) + ERASED * 4
BEHIND_MARKS = bytes(24)
ENDS_SERVICE = {0x66, 0x99}  # RMA, DECOMMISSIONED

RECORD_TYPES = {
    "DEVICE": 1,
    "DEVICE_KEYS": 2,
    "GROUP_KEY": 3,
    "TRUST_BUNDLE": 4,
    "INSTALL_STARTED": 5,
    "INSTALLED": 6,
    "APP_TRIAL": 7,
    "APP_CONFIRMED": 8,
    "BOOT_TRIAL": 9,
    "BOOT_CONFIRMED": 10,
    "FLOORS": 11,
    "EVENT": 12,
    "SEAL": 13,
    "MOVED": 14,
    "TAKEN": 15,
    "ACTIVATED": 16,
    "PENDING_GRANT": 17,
    "SERVICE_STARTED": 18,
}


@dataclass(frozen=True, slots=True)
class Record:
    """One valid record. `is_known`: its type, format, length and the values it names are those of the specification."""

    offset: int
    kind: int
    record_format: int
    number: int
    payload: bytes
    is_known: bool
    used_marks: int = 0

    @property
    def name(self) -> str | None:
        """The record's name, if it is known."""
        return next(name for name, kind in RECORD_TYPES.items() if kind == self.kind) if self.is_known else None

    @property
    def end(self) -> int:
        """The offset behind it, and behind the marks of a BOOT_TRIAL and their zeros."""
        tail = MARK_COUNT * MARK_SIZE_BYTES + len(BEHIND_MARKS) if self.name == "BOOT_TRIAL" else 0
        return self.offset + SLOT_SIZE_BYTES + len(padded(self.payload)) + tail


def half_header(half_sequence: int, magic: bytes = b"SRJ1") -> bytes:
    """The 16 bytes of slot 0."""
    return magic + u32(half_sequence) + sha256(context("SR-journal-v1"), magic, u32(half_sequence))[:8]


def record_header(fields: bytes, half_sequence: int, offset: int, payload: bytes) -> bytes:
    """The 16 bytes of a record header, with its check; `fields` are its first 8."""
    return fields + sha256(context("SR-journal-v1"), fields, u32(half_sequence), u32(offset), payload)[:8]


def record_fields(kind: int, number: int, payload: bytes, record_format: int = 1) -> bytes:
    """The first 8 bytes of a record header."""
    return bytes((kind, record_format)) + u16(len(payload)) + u32(number)


def padded(payload: bytes) -> bytes:
    """The payload filled up to a whole slot with the erased byte."""
    return payload + ERASED * (-len(payload) % SLOT_SIZE_BYTES)


class HalfWriter:
    """Builds one half, front to back, and remembers what a reader must find in it."""

    def __init__(self, half_sequence: int) -> None:
        self.half_sequence = half_sequence
        self.content = half_header(half_sequence)
        self.records: list[Record] = []

    @property
    def offset(self) -> int:
        """Where the next bytes go."""
        return len(self.content)

    def append(
        self, name: str, payload: bytes = b"", number: int | None = None, used_marks: int = 0, blank_marks: int = 0
    ) -> None:
        """A valid record of a known type. `number`: one more than the last, unless given; a SEAL repeats the last.

        `used_marks` is the number of the last mark in use; the first `blank_marks` of them read blank all the same.
        """
        last = self.records[-1].number if self.records else 0
        if number is None:
            number = last if name == "SEAL" else last + 1
        self._put(Record(self.offset, RECORD_TYPES[name], 1, number, payload, True, used_marks))
        if name == "BOOT_TRIAL":
            blank = ERASED * MARK_SIZE_BYTES
            used = USED_MARK * (used_marks - blank_marks)
            self.content += blank * blank_marks + used + blank * (MARK_COUNT - used_marks) + BEHIND_MARKS

    def append_unknown(self, kind: int, payload: bytes, record_format: int = 1) -> None:
        """A valid record that a reader keeps and does not apply."""
        last = self.records[-1].number if self.records else 0
        self._put(Record(self.offset, kind, record_format, last + 1, payload, False))

    def _put(self, record: Record) -> None:
        fields = record_fields(record.kind, record.number, record.payload, record.record_format)
        header = record_header(fields, self.half_sequence, record.offset, record.payload)
        self.records.append(record)
        self.content += header + padded(record.payload)

    def append_raw(self, slots: bytes) -> None:
        """Bytes in which a reader must find no record: torn, foreign or malformed ones."""
        if len(slots) % SLOT_SIZE_BYTES:
            raise ValueError("not a whole number of slots")
        self.content += slots

    @property
    def end(self) -> int:
        """Behind the last valid record, its marks included, and behind the last slot that does not read blank."""
        written = self.content
        while written.endswith(ERASED * SLOT_SIZE_BYTES):
            written = written[:-SLOT_SIZE_BYTES]
        return max([len(written), *(record.end for record in self.records)])

    @property
    def is_settled(self) -> bool:
        """Whether the last valid record is a SEAL directly behind another one, and all behind it reads blank."""
        if len(self.records) < 2 or self.records[-1].name != "SEAL":
            return False
        return self.records[-2].end == self.records[-1].offset and self.records[-1].end == self.end


def remaining(records: Iterable[Record]) -> list[Record]:
    """The records that count: each removes the one before it if its number is not greater.

    A SEAL removes the one before it if the SEAL's number is smaller, and is passed over.
    """
    kept: list[Record] = []
    for record in records:
        if record.name == "SEAL":
            if kept and record.number < kept[-1].number:
                kept.pop()
            continue
        if kept and record.number <= kept[-1].number:
            kept.pop()
        kept.append(record)
    return kept


def state_after(records: Sequence[Record]) -> dict[str, object]:
    """What the remaining records say: the last payload of each kind (hex), after the removals of the specification."""
    last: dict[str, Record] = {}
    started: dict[int, bytes] = {}  # by region: 1 application, 2 bootloader A, 3 bootloader B
    events: list[bytes] = []
    unknown: dict[tuple[int, int], bytes] = {}
    for record in records:
        name, payload = record.name, record.payload
        if name is None:
            unknown[record.kind, record.record_format] = payload
        elif name == "EVENT":
            if not events or _event_count(payload) > _event_count(events[-1]):
                events.append(payload)
        elif name == "INSTALL_STARTED":
            started[payload[0]] = payload
            _remove_with_region(last, payload[0])
        elif name not in {"MOVED", "TAKEN"}:
            last[name] = record
            _remove_with(last, started, record)
    trial = last.get("BOOT_TRIAL")
    state: dict[str, object] = {name: record.payload.hex() for name, record in sorted(last.items())}
    state["BOOT_TRIAL_ATTEMPTS"] = trial.payload[1] + trial.used_marks if trial else None
    image = last["INSTALLED"].payload[16:48] if "INSTALLED" in last else None
    if "APP_CONFIRMED" in last:
        state["IMAGE_IS_CONFIRMED"] = last["APP_CONFIRMED"].payload == image
    if "APP_TRIAL" in last:
        attempts = int.from_bytes(last["APP_TRIAL"].payload[:4], "little")
        state["IMAGE_ATTEMPTS"] = attempts if last["APP_TRIAL"].payload[4:] == image else 0
    state["INSTALL_STARTED"] = {str(region): payload.hex() for region, payload in sorted(started.items())}
    state["EVENTS"] = [payload.hex() for payload in events[-16:]]
    state["UNKNOWN"] = [[kind, form, sha256(payload).hex()] for (kind, form), payload in sorted(unknown.items())]
    return {name: value for name, value in state.items() if value is not None and value not in ({}, [])}


def _event_count(payload: bytes) -> int:
    return int.from_bytes(payload[4:8], "little")


def _remove_with_region(last: dict[str, Record], region: int) -> None:
    if region == 1:
        _remove(last, "INSTALLED", "APP_TRIAL", "APP_CONFIRMED")
    elif "BOOT_TRIAL" in last and last["BOOT_TRIAL"].payload[0] == region - 2:
        _remove(last, "BOOT_TRIAL")


def _remove_with(last: dict[str, Record], started: dict[int, bytes], record: Record) -> None:
    if record.name == "INSTALLED":
        _remove(last, "APP_TRIAL", "APP_CONFIRMED")
        started.pop(1, None)
        if "PENDING_GRANT" in last and last["PENDING_GRANT"].payload[16:48] == record.payload[16:48]:
            _remove(last, "PENDING_GRANT")
    elif record.name == "DEVICE" and record.payload[18] in ENDS_SERVICE:
        _remove(last, "SERVICE_STARTED")
    elif record.name == "APP_CONFIRMED":
        _remove(last, "APP_TRIAL")
    elif record.name == "BOOT_CONFIRMED":
        _remove(last, "BOOT_TRIAL")
        started.pop(record.payload[0] + 2, None)


def _remove(last: dict[str, Record], *names: str) -> None:
    for name in names:
        last.pop(name, None)
