"""What a ceremony report says, read out of the transcript: values, without any markup. Pure.

The transcript may be one that does not verify (the report then says so), so nothing here relies on more than the chain:
what is missing or of another type is shown as it is, never trusted to be of a form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ceremonies.transcript import Entry, EntryType, head_of
from ceremonies.word_list import digest_from_text, word_lines
from pki.errors import InputRefused, VerificationError

Fact = tuple[str, str]
"""A name and a value, both for people."""

ABSENT = "–"
_DONE = {
    EntryType.SAID: "Read aloud.",
    EntryType.PRESENT: "Present.",
    EntryType.CONFIRMED: "Confirmed.",
    EntryType.UNLOCKED: "Token unlocked.",
    EntryType.RESULT: "Done.",
}


class Person(msgspec.Struct, frozen=True):
    """Somebody of the ceremony. `present_at` is when that was stated; empty if it was not."""

    id: str
    name: str
    part: str
    present_at: str


class StepDone(msgspec.Struct, frozen=True):
    """One step of the script. `at` and `result` are empty for a step that was not done."""

    number: int
    id: str
    who: str
    person: str
    text: str
    at: str
    result: str
    facts: tuple[Fact, ...]


class Deviation(msgspec.Struct, frozen=True):
    """Something that was not as in the rehearsal."""

    at: str
    step: str
    text: str


class ReportContent(msgspec.Struct, frozen=True):
    """Everything that the transcript says. Digests in hexadecimal; times as `YYYY-MM-DDThh:mm:ssZ`."""

    name: str
    title: str
    purpose: str
    facts: tuple[Fact, ...]
    mode: str
    digest: str
    words: tuple[str, ...]
    rehearsal: str
    head: str
    entry_count: int
    ended: bool
    people: tuple[Person, ...]
    steps: tuple[StepDone, ...]
    deviations: tuple[Deviation, ...]
    keys: tuple[tuple[Fact, ...], ...]
    artefacts: tuple[tuple[str, str], ...]
    """Name and SHA-256 of each, as the transcript ends with them."""
    signature: tuple[Fact, ...]


def read_content(entries: Sequence[Entry]) -> ReportContent:
    """The content of a report. Raises VerificationError RP-02 for a transcript that does not begin as one."""
    if not entries or entries[0].type is not EntryType.BEGUN:
        raise VerificationError("[RP-02] the transcript does not begin with the beginning of a ceremony")
    begun = entries[0]
    fixed = begun.note.fixed
    people = _people(fixed, entries)
    digest = plain(fixed.get("digest"))
    ended = next((entry for entry in entries if entry.type is EntryType.ENDED), None)
    return ReportContent(
        name=plain(fixed.get("name")),
        title=plain(fixed.get("title")),
        purpose=plain(fixed.get("purpose")),
        facts=_facts(entries, ended),
        mode=plain(begun.note.varying.get("mode")),
        digest=digest,
        words=_words(digest),
        rehearsal=plain(begun.note.varying.get("rehearsal")),
        head=head_of(entries),
        entry_count=sum(entry.type is not EntryType.SIGNED for entry in entries),
        ended=ended is not None,
        people=people,
        steps=_steps(fixed, entries, people),
        deviations=tuple(_deviations(entries)),
        keys=_keys(entries),
        artefacts=_artefacts(ended),
        signature=_signature(entries),
    )


def plain(value: Any) -> str:
    """A public value as text: itself, or compact JSON."""
    if value is None or value == "":
        return ABSENT
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def time_for_people(at: str) -> str:
    """`2026-11-27T09:00:07Z` as `2026-11-27 09:00:07`; every time of a report is UTC."""
    return at.replace("T", " ").removesuffix("Z")


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _facts(entries: Sequence[Entry], ended: Entry | None) -> tuple[Fact, ...]:
    begun = entries[0]
    fixed, varying = begun.note.fixed, begun.note.varying
    end = f"{time_for_people(ended.at)} UTC" if ended is not None else "not ended"
    return (
        ("Kind", plain(fixed.get("kind"))),
        ("Site", plain(fixed.get("site"))),
        ("Environment", plain(fixed.get("environment"))),
        ("Run as", plain(varying.get("mode"))),
        ("Begun", f"{time_for_people(begun.at)} UTC"),
        ("Ended", end),
        ("Made with", f"Strongroom {plain(varying.get('tool'))}"),
    )


def _words(digest: str) -> tuple[str, ...]:
    try:
        return tuple(word_lines(digest_from_text(digest)))
    except InputRefused:
        return ()


def _people(fixed: Mapping[str, Any], entries: Iterable[Entry]) -> tuple[Person, ...]:
    """Everybody, by the part that steps name them with: `operator`, and where several have a role, `witness-2`."""
    present = {
        (plain(entry.note.fixed.get("person")), plain(entry.note.fixed.get("role"))): entry.at
        for entry in entries
        if entry.type is EntryType.PRESENT and entry.note.varying.get("present") is True
    }
    people = _objects(fixed.get("people"))
    roles = [plain(item.get("role")) for item in people]
    found = []
    for place, item in enumerate(people):
        id_, role = plain(item.get("id")), roles[place]
        part = f"{role}-{roles[: place + 1].count(role)}" if roles.count(role) > 1 else role
        found.append(Person(id_, plain(item.get("name")), part, present.get((id_, role), "")))
    return tuple(found)


def _steps(fixed: Mapping[str, Any], entries: Sequence[Entry], people: Sequence[Person]) -> tuple[StepDone, ...]:
    done = {entry.note.step: entry for entry in entries if entry.type in _DONE and entry.note.step is not None}
    # A role that one person has is `witness` among the people and may be `witness-1` in a step.
    names = {f"{person.part}-1": person.name for person in people} | {person.part: person.name for person in people}
    steps = []
    for number, item in enumerate(_objects(fixed.get("steps")), start=1):
        id_, who = plain(item.get("id")), plain(item.get("who"))
        entry = done.get(id_)
        at, result, facts = ("", "", ()) if entry is None else (entry.at, _result(entry), _step_facts(entry))
        name = names.get(who) or _named_in(entry, people)
        steps.append(StepDone(number, id_, who, name, plain(item.get("text")), at, result, facts))
    return tuple(steps)


def _named_in(entry: Entry | None, people: Sequence[Person]) -> str:
    """At the roll call every custodian is just `custodian` in the script; the entry says who it was."""
    id_ = None if entry is None else entry.note.fixed.get("person")
    return next((person.name for person in people if person.id == id_), ABSENT)


def _result(entry: Entry) -> str:
    fixed, varying = entry.note.fixed, entry.note.varying
    if entry.type is EntryType.PRESENT and varying.get("present") is not True:
        return "NOT PRESENT."
    if entry.type is EntryType.CONFIRMED:
        return f"Typed: {plain(fixed.get('typed'))}"
    if entry.type is EntryType.RESULT and "outcome" in varying:
        return f"Done: {plain(varying['outcome'])}."
    return _DONE[entry.type]


_SHOWN_ELSEWHERE = frozenset({"act", "who", "text", "typed", "person", "role", "present", "outcome"})
_SHOWN_WITH_KEYS = frozenset({"act", "outcome", "public_key", "cka_id"})


def _step_facts(entry: Entry) -> tuple[Fact, ...]:
    hidden = _SHOWN_ELSEWHERE if entry.type is not EntryType.RESULT else _SHOWN_WITH_KEYS
    values = {**entry.note.fixed, **entry.note.varying}
    return tuple((name.replace("_", " "), plain(value)) for name, value in values.items() if name not in hidden)


def _deviations(entries: Sequence[Entry]) -> Iterable[Deviation]:
    for entry in entries:
        text = _deviation(entry)
        if text:
            yield Deviation(entry.at, entry.note.step or ABSENT, text)


def _deviation(entry: Entry) -> str:
    fixed, varying = entry.note.fixed, entry.note.varying
    if entry.type is EntryType.FAILED:
        return f"Failed: {plain(varying.get('text'))}"
    if entry.type is EntryType.RESUMED:
        return f"Resumed after an interruption; the step that came next: {plain(varying.get('interrupted_at'))}"
    if entry.type is EntryType.UNLOCKED_AGAIN:
        return f"Token {plain(fixed.get('token'))} unlocked again"
    if entry.type is EntryType.ABORTED:
        return f"ABORTED by rule {plain(varying.get('rule'))}: {plain(varying.get('reason'))}"
    if entry.type is EntryType.PRESENT and varying.get("present") is not True:
        return f"{plain(fixed.get('person'))} ({plain(fixed.get('role'))}) was not present"
    return ""


_OF_A_KEY = ("role", "product", "algorithm", "token", "key_id", "cka_id", "public_key")


def _keys(entries: Iterable[Entry]) -> tuple[tuple[Fact, ...], ...]:
    """What the results say about each key whose public half they name, merged by label, in order."""
    found: dict[str, dict[str, str]] = {}
    for entry in entries:
        values = {**entry.note.fixed, **entry.note.varying}
        if entry.type is not EntryType.RESULT or not isinstance(values.get("public_key"), str):
            continue
        key = found.setdefault(plain(values.get("label")), {})
        key.update({name: plain(values[name]) for name in _OF_A_KEY if values.get(name) is not None})
    return tuple((("label", label), *values.items()) for label, values in found.items())


def _artefacts(ended: Entry | None) -> tuple[tuple[str, str], ...]:
    listed = _objects(ended.note.varying.get("artefacts")) if ended is not None else []
    return tuple((plain(item.get("name")), plain(item.get("sha256"))) for item in listed)


def _signature(entries: Sequence[Entry]) -> tuple[Fact, ...]:
    if entries[-1].type is not EntryType.SIGNED:
        return ()
    varying = entries[-1].note.varying
    return tuple(
        (name.replace("_", " "), plain(varying.get(name))) for name in ("key_label", "public_key", "signature")
    )
