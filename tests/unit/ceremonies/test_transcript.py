"""The transcript: a chain of public values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ceremonies.public_values import public_object
from ceremonies.transcript import Entry, EntryType, following, head_of, note, parse_transcript
from ceremonies.transcript_file import TranscriptFile
from pki.errors import CeremonyAborted
from signer.custody.shares import CustodianShare
from signer.tokens.pin_sources import Pin

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
SAMPLE = Path(__file__).parent / "sample"


def entries_of(count: int) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(count):
        new = note(EntryType.SAID, f"step-{number}", {"who": "operator", "text": "x"})
        entries.append(following(entries, new, NOW + timedelta(seconds=number)))
    return entries


def encoded(entries: list[Entry]) -> bytes:
    return b"".join(entry.line + b"\n" for entry in entries)


class StringThatHides(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        CustodianShare("dan", ("academic",)),
        Pin(bytearray(b"1234")),
        StringThatHides("x"),
        b"bytes",
        1.5,
        {1: "x"},
        {"a"},
        object(),
        1 << 60,
    ],
)
def test_a_secret_cannot_be_put_into_a_note(value: Any) -> None:
    for wrapped in ({"x": value}, {"x": [value]}, {"x": {"y": value}}):
        with pytest.raises((TypeError, ValueError)):
            note(EntryType.RESULT, "step", {}, wrapped)
        with pytest.raises((TypeError, ValueError)):
            note(EntryType.RESULT, "step", wrapped)


def test_plain_values_pass_as_copies() -> None:
    given: dict[str, Any] = {"a": [1, True, None, "x", {"b": "c"}]}
    taken = public_object(given)
    given["a"].append("later")
    assert taken == {"a": [1, True, None, "x", {"b": "c"}]}


def test_what_is_written_is_read() -> None:
    entries = entries_of(5)
    assert parse_transcript(encoded(entries)) == (entries, len(encoded(entries)))
    assert head_of(entries) == entries[-1].digest


def test_a_clock_set_back_does_not_turn_the_order_round() -> None:
    entries = entries_of(2)
    later = following(entries, note(EntryType.RESUMED, None, {}, {"interrupted_at": None}), NOW - timedelta(days=1))
    assert later.at == entries[-1].at


def test_the_last_line_may_be_cut_off_and_then_does_not_count() -> None:
    entries = entries_of(3)
    data = encoded(entries)
    whole = encoded(entries[:2])
    for size in range(len(whole), len(data)):
        assert parse_transcript(data[:size]) == (entries[:2], len(whole))


def test_every_changed_byte_is_noticed() -> None:
    data = encoded(entries_of(3))
    unnoticed = []
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            entries, size_bytes = parse_transcript(changed)
        except CeremonyAborted:
            continue
        # The last line's own content is held by nothing after it; its end is what can be lost.
        if len(entries) == 3 and size_bytes == len(data):
            unnoticed.append(place)
    last_line_begins = len(encoded(entries_of(2)))
    assert all(place >= last_line_begins for place in unnoticed)


def test_lines_cannot_be_moved_doubled_or_left_out() -> None:
    lines = encoded(entries_of(4)).splitlines(keepends=True)
    for wrong in (
        lines[1:],
        [lines[0], *lines[2:]],
        [lines[0], lines[0], *lines[1:]],
        [lines[1], lines[0], *lines[2:]],
    ):
        with pytest.raises(CeremonyAborted, match="CE-24"):
            parse_transcript(b"".join(wrong))


def test_an_entry_cut_off_on_disk_is_taken_away_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    entries = entries_of(3)
    path.write_bytes(encoded(entries)[:-5])
    with TranscriptFile(path) as file:
        assert file.entries == entries[:2]
        file.append(entries[2])
    assert path.read_bytes() == encoded(entries)


def test_the_sample_is_a_transcript() -> None:
    entries, _ = parse_transcript((SAMPLE / "transcript.jsonl").read_bytes())
    assert entries[0].type is EntryType.BEGUN
    assert entries[-1].type is EntryType.ENDED
