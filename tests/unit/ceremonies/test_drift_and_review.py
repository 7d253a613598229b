"""What counts as drift (CE-20), and what the reviewed digest covers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ceremonies.drift import drift_of
from ceremonies.review import changed_files, review_document, reviewed_digest
from ceremonies.transcript import Entry, EntryType, Note, following, note

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
FIXED: dict[str, Any] = {"act": "generate-key", "label": "sr:root:-:0001", "count": 1, "names": ["a", "b"]}
VARYING: dict[str, Any] = {"serial": "0123", "key_id": "00"}
BEGUN = note(EntryType.BEGUN, None, {"digest": "00"}, {"mode": "rehearsal"})
RESULT = note(EntryType.RESULT, "make", FIXED, VARYING)
ENDED = note(EntryType.ENDED, None, {"steps": 1}, {"artefacts": []})


def entries_of(*notes: Note) -> list[Entry]:
    entries: list[Entry] = []
    for each in notes:
        entries.append(following(entries, each, NOW))
    return entries


GOLDEN = entries_of(BEGUN, note(EntryType.INTENT, "make", {"act": "x", "with": {}}), RESULT, ENDED)


def test_what_is_declared_may_differ() -> None:
    other = note(EntryType.RESULT, "make", FIXED, {"serial": "4567", "key_id": ["01"]})
    assert drift_of(entries_of(BEGUN, other, ENDED), GOLDEN) is None


def test_interruptions_are_no_drift() -> None:
    failed = note(EntryType.FAILED, "make", {}, {"error": "TokenLost", "text": "x"})
    resumed = note(EntryType.RESUMED, None, {}, {"interrupted_at": "make"})
    assert drift_of(entries_of(BEGUN, failed, resumed, RESULT, ENDED), GOLDEN) is None
    assert drift_of(entries_of(BEGUN), GOLDEN) is None


@pytest.mark.parametrize(
    ("fixed", "varying"),
    [
        ({**FIXED, "label": "sr:root:-:0002"}, VARYING),
        ({**FIXED, "count": 2}, VARYING),
        ({**FIXED, "names": ["b", "a"]}, VARYING),
        ({**FIXED, "more": None}, VARYING),
        ({name: value for name, value in FIXED.items() if name != "label"}, VARYING),
        (FIXED, {**VARYING, "more": None}),
        (FIXED, {"serial": "0123"}),
    ],
)
def test_everything_else_is_drift(fixed: dict[str, Any], varying: dict[str, Any]) -> None:
    found = drift_of(entries_of(BEGUN, note(EntryType.RESULT, "make", fixed, varying)), GOLDEN)
    assert found is not None
    assert "'make'" in found


def test_another_order_and_another_step_are_drift() -> None:
    assert drift_of(entries_of(BEGUN, ENDED), GOLDEN) is not None
    assert drift_of(entries_of(BEGUN, RESULT, RESULT), GOLDEN) is not None
    assert drift_of(entries_of(BEGUN, RESULT, ENDED, RESULT), GOLDEN) is not None
    said = note(EntryType.SAID, "make", {"who": "operator", "text": "x"})
    assert drift_of(entries_of(BEGUN, said), GOLDEN) is not None


# The digest

FILES = {"ceremonies/x/plan.yaml": b"plan", "sites/main.toml": b"site", "people.toml": b""}


def digest(name: str = "x", files: dict[str, bytes] = FILES, version: str = "1", source: str = "00") -> bytes:
    return reviewed_digest(review_document(name, files, version, source))


def test_the_digest_covers_names_contents_and_program() -> None:
    changed = [
        digest(name="y"),
        digest(version="2"),
        digest(source="01"),
        digest(files={**FILES, "sites/main.toml": b"sitf"}),
        digest(files={**FILES, "people.toml": b"\0"}),
        digest(files={**FILES, "more.toml": b""}),
        digest(files={name: content for name, content in FILES.items() if name != "people.toml"}),
        digest(files={"ceremonies/x/plan.yaml": b"site", "sites/main.toml": b"plan", "people.toml": b""}),
        digest(files={**{n: c for n, c in FILES.items() if n != "people.toml"}, "people.tom": b"l"}),
    ]
    assert len({digest(), *changed}) == len(changed) + 1
    assert digest() == digest(files=dict(reversed(FILES.items())))


def test_what_changed_is_named() -> None:
    before = review_document("x", FILES, "1", "00")
    after = review_document("x", {**FILES, "people.toml": b"x", "more": b""}, "1", "01")
    assert changed_files(before, after) == ["more", "people.toml", "the program itself"]
    assert changed_files(before, before) == []
    assert [item["path"] for item in json.loads(before)["files"]] == sorted(FILES)
