"""Whether a ceremony still goes as it was rehearsed. Rule CE-20. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ceremonies.transcript import Entry, EntryType, completions


def drift_of(live: Sequence[Entry], golden: Sequence[Entry]) -> str | None:
    """The first difference that is not declared, in words; None if what has been done so far is as rehearsed."""
    done, rehearsed = completions(live), completions(golden)
    for place, entry in enumerate(done):
        if place >= len(rehearsed):
            return f"{_name(entry)} was not rehearsed"
        problem = _difference(entry, rehearsed[place])
        if problem is not None:
            return problem
    return None


def _difference(entry: Entry, golden: Entry) -> str | None:
    if (entry.type, entry.note.step) != (golden.type, golden.note.step):
        return f"{_name(entry)} stands where {_name(golden)} was rehearsed"
    for name in sorted(set(entry.note.fixed) | set(golden.note.fixed)):
        here, there = entry.note.fixed.get(name), golden.note.fixed.get(name)
        if here != there or (name in entry.note.fixed) is not (name in golden.note.fixed):
            return f"{_name(entry)}: {name!r} is {_shown(here)}, and was {_shown(there)} in the rehearsal"
    if set(entry.note.varying) != set(golden.note.varying):
        names = ", ".join(sorted(set(entry.note.varying) ^ set(golden.note.varying)))
        return f"{_name(entry)}: only one of ceremony and rehearsal has {names}"
    return None


def _name(entry: Entry) -> str:
    if entry.note.step is None:
        return {EntryType.BEGUN: "the beginning", EntryType.ENDED: "the end"}[entry.type]
    return f"step {entry.note.step!r} ({entry.type.value})"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
