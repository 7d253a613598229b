"""The transcript of a ceremony: hash-chained entries of public values (docs/spec/ceremony-transcript.md). Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ceremonies.public_values import public_object
from ceremonies.rules import TRANSCRIPT_DAMAGED
from pki.canonical_json import JsonValue, encode_canonical, parse_canonical
from pki.errors import CeremonyAborted, FormatError

TRANSCRIPT_FORMAT = "strongroom-ceremony-transcript-1"
HEAD_FORMAT = "strongroom-ceremony-head-1"
LINE_SIZE_BYTES_MAX = 64 * 1024
ENTRY_COUNT_MAX = 10_000
FILE_SIZE_BYTES_MAX = 16 * 1024 * 1024
_FIRST_PREVIOUS = "0" * 64
_HEAD_TITLE = "strongroom ceremony transcript v1"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class EntryType(StrEnum):
    """What an entry says. Values are extend-only."""

    BEGUN = "begun"
    SAID = "said"
    PRESENT = "present"
    CONFIRMED = "confirmed"
    UNLOCKED = "unlocked"
    UNLOCKED_AGAIN = "unlocked-again"
    INTENT = "intent"
    RESULT = "result"
    FAILED = "failed"
    RESUMED = "resumed"
    ABORTED = "aborted"
    ENDED = "ended"
    SIGNED = "signed"


COMPLETIONS = frozenset(
    {
        EntryType.BEGUN,
        EntryType.SAID,
        EntryType.PRESENT,
        EntryType.CONFIRMED,
        EntryType.UNLOCKED,
        EntryType.RESULT,
        EntryType.ENDED,
    }
)
"""What the ceremony and its rehearsal must have in common, entry by entry."""


class Note(msgspec.Struct, frozen=True):
    """What is to be written: an entry without its place in the chain. Values are checked to be public when made."""

    type: EntryType
    step: str | None
    fixed: dict[str, JsonValue]
    varying: dict[str, JsonValue]


def note(
    type_: EntryType,
    step: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    varying: Mapping[str, Any] | None = None,
) -> Note:
    """Make a note. Raises TypeError for a value that is not plainly public: a secret, say."""
    return Note(type_, step, public_object(fixed or {}), public_object(varying or {}))


class Entry(msgspec.Struct, frozen=True):
    """One entry in its place. `at` is `YYYY-MM-DDThh:mm:ssZ`."""

    sequence: int
    previous: str
    at: str
    note: Note

    @property
    def type(self) -> EntryType:
        """What it says."""
        return self.note.type

    @property
    def line(self) -> bytes:
        """Its canonical JSON, without the line feed."""
        return encode_canonical(
            {
                "sequence": self.sequence,
                "previous": self.previous,
                "at": self.at,
                "type": self.note.type.value,
                "step": self.note.step,
                "fixed": self.note.fixed,
                "varying": self.note.varying,
            }
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the line, in hexadecimal: the next entry's `previous`."""
        return hashlib.sha256(self.line).hexdigest()


def time_text(moment: datetime) -> str:
    """A time as transcripts have it; `moment` is in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def following(entries: Sequence[Entry], new: Note, now: datetime) -> Entry:
    """The next entry of a transcript. A clock that was set back does not turn its order around: `at` never falls."""
    if len(entries) >= ENTRY_COUNT_MAX:
        raise CeremonyAborted(TRANSCRIPT_DAMAGED, f"the transcript has {ENTRY_COUNT_MAX} entries and takes no more")
    if not entries:
        return Entry(0, _FIRST_PREVIOUS, time_text(now), new)
    last = entries[-1]
    entry = Entry(last.sequence + 1, last.digest, max(last.at, time_text(now)), new)
    if len(entry.line) > LINE_SIZE_BYTES_MAX:
        raise CeremonyAborted(TRANSCRIPT_DAMAGED, "an entry is too long for a transcript; shorten the plan's texts")
    return entry


def head_text(name: str, entries: Sequence[Entry]) -> bytes:
    """What the log's key and the witnesses sign: name, number of entries and head, of everything but `signed`."""
    counted = [entry for entry in entries if entry.type is not EntryType.SIGNED]
    return f"{_HEAD_TITLE}\n{name}\n{len(counted)}\n{counted[-1].digest}\n".encode("ascii")


def head_of(entries: Sequence[Entry]) -> str:
    """The head of a transcript, in hexadecimal."""
    return next(entry.digest for entry in reversed(entries) if entry.type is not EntryType.SIGNED)


def completions(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that the ceremony and its rehearsal have in common."""
    return [entry for entry in entries if entry.type in COMPLETIONS]


def parse_transcript(data: bytes) -> tuple[list[Entry], int]:
    """Every entry, and the bytes that hold them: a last line without its line feed was cut off, and is none.

    Raises CeremonyAborted CE-24 for anything that is not a transcript whose chain holds.
    """
    if len(data) > FILE_SIZE_BYTES_MAX:
        raise _damaged(f"it has more than {FILE_SIZE_BYTES_MAX} bytes")
    *lines, _cut_off = data.split(b"\n")
    if len(lines) > ENTRY_COUNT_MAX:
        raise _damaged(f"it has more than {ENTRY_COUNT_MAX} entries")
    entries: list[Entry] = []
    for number, line in enumerate(lines):
        entry = _parse_line(line, number)
        expected = entries[-1].digest if entries else _FIRST_PREVIOUS
        if entry.sequence != number or entry.previous != expected:
            raise _damaged(f"line {number + 1} does not follow from the line before it")
        if entries and entry.at < entries[-1].at:
            raise _damaged(f"line {number + 1} is dated before the line before it")
        entries.append(entry)
    return entries, sum(len(line) + 1 for line in lines)


def _parse_line(line: bytes, number: int) -> Entry:
    try:
        values = parse_canonical(line, f"line {number + 1}", LINE_SIZE_BYTES_MAX)
        if set(values) != {"sequence", "previous", "at", "type", "step", "fixed", "varying"}:
            raise FormatError(f"line {number + 1}", 0, "does not have exactly the fields of an entry")
        return _entry_of(values)
    except (FormatError, ValueError, TypeError) as error:
        raise _damaged(f"line {number + 1}: {error}") from None


def _entry_of(values: dict[str, Any]) -> Entry:
    types = {"sequence": int, "previous": str, "at": str, "type": str, "fixed": dict, "varying": dict}
    if any(type(values[name]) is not kind for name, kind in types.items()) or not _TIME.fullmatch(values["at"]):
        raise ValueError("a field has another form")
    if values["step"] is not None and type(values["step"]) is not str:
        raise ValueError("a field has another form")
    new = Note(EntryType(values["type"]), values["step"], values["fixed"], values["varying"])
    return Entry(values["sequence"], values["previous"], values["at"], new)


def _damaged(reason: str) -> CeremonyAborted:
    return CeremonyAborted(TRANSCRIPT_DAMAGED, f"the transcript is damaged: {reason}; compare it with its copies")
