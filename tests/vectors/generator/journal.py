"""Journal halves from `docs/spec/device-state.md`, sections 1 and 2: slots, headers and records, whole or torn."""

from __future__ import annotations

from dataclasses import dataclass

from tests.vectors.generator.primitives import context, sha256, u16, u32

SLOT_SIZE_BYTES = 16
FIRST_RECORD_OFFSET = 2 * SLOT_SIZE_BYTES
ERASED = b"\xff"

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
}


@dataclass(frozen=True, slots=True)
class Record:
    """One record as a reader must find it."""

    offset: int
    kind: int
    payload: bytes


def half_header(half_sequence: int, magic: bytes = b"SRJ1") -> bytes:
    """The 16 bytes of slot 0, and of slot 1."""
    return magic + u32(half_sequence) + sha256(context("SR-journal-v1"), magic, u32(half_sequence))[:8]


def record_header(
    kind: int, half_sequence: int, offset: int, payload: bytes, fixed_fields: bytes | None = None
) -> bytes:
    """The 16 bytes of a record header; `fixed_fields` stands in for its first 8."""
    fields = fixed_fields or bytes((kind, 1)) + u16(len(payload)) + bytes(4)
    return fields + sha256(context("SR-journal-v1"), fields, u32(half_sequence), u32(offset), payload)[:8]


def padded(payload: bytes) -> bytes:
    """The payload filled up to a whole slot with the erased byte."""
    return payload + ERASED * (-len(payload) % SLOT_SIZE_BYTES)


class HalfWriter:
    """Builds one half, front to back, and remembers what a reader must find in it."""

    def __init__(self, half_sequence: int) -> None:
        self.half_sequence = half_sequence
        self.content = half_header(half_sequence) * 2
        self.records: list[Record] = []

    @property
    def offset(self) -> int:
        """Where the next bytes go."""
        return len(self.content)

    def append(self, kind: str | int, payload: bytes = b"") -> None:
        """A valid record."""
        number = kind if isinstance(kind, int) else RECORD_TYPES[kind]
        self.records.append(Record(self.offset, number, payload))
        self.content += record_header(number, self.half_sequence, self.offset, payload) + padded(payload)

    def append_raw(self, slots: bytes) -> None:
        """Bytes in which a reader must find no record: torn, foreign or malformed ones."""
        if len(slots) % SLOT_SIZE_BYTES:
            raise ValueError("not a whole number of slots")
        self.content += slots

    def append_bare(self, header: bytes, payload: bytes) -> None:
        """A header and a payload that do not make a record."""
        self.append_raw(header + padded(payload))

    def half(self, half_size_bytes: int) -> bytes:
        """The whole half, erased behind what was written."""
        if self.offset > half_size_bytes:
            raise ValueError("the half is full")
        return self.content + ERASED * (half_size_bytes - self.offset)


def state_after(records: list[Record]) -> dict[str, object]:
    """The last payload of each kind (hex), after the removals the specification lists; unknown types play no part."""
    names = {number: name for name, number in RECORD_TYPES.items()}
    last: dict[str, bytes] = {}
    started: dict[int, bytes] = {}  # by region: 1 application, 2 bootloader A, 3 bootloader B
    events: list[bytes] = []
    for record in records:
        name, payload = names.get(record.kind), record.payload
        if name in {None, "SEAL"}:
            continue
        if name == "EVENT":
            events.append(payload)
            continue
        if name == "INSTALL_STARTED":
            started[payload[0]] = payload
            if payload[0] == 1:
                _remove(last, "INSTALLED", "APP_TRIAL", "APP_CONFIRMED")
            elif last.get("BOOT_TRIAL", b"\xff")[0] == payload[0] - 2:
                _remove(last, "BOOT_TRIAL")
            continue
        if name == "INSTALLED":
            _remove(last, "APP_TRIAL", "APP_CONFIRMED")
            started.pop(1, None)
        if name == "BOOT_CONFIRMED":
            _remove(last, "BOOT_TRIAL")
            started.pop(payload[0] + 2, None)
        last[str(name)] = payload
    return {
        **{name: payload.hex() for name, payload in sorted(last.items())},
        "INSTALL_STARTED": {str(region): payload.hex() for region, payload in sorted(started.items())},
        "EVENTS": [payload.hex() for payload in events[-16:]],
    }


def _remove(last: dict[str, bytes], *names: str) -> None:
    for name in names:
        last.pop(name, None)
