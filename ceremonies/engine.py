"""The ceremony as a pure state machine: `advance(state, event) -> (state, step)`.

It knows the script and what has happened, and says what comes next; it reads no clock, terminal or token. What performs
the steps (`ceremonies.conduct`) writes each event into the transcript before it asks for the next step, so that
`replay` of the transcript gives the same state again after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ceremonies import script as scripts
from ceremonies.rules import NO_QUORUM, TRANSCRIPT_DAMAGED
from ceremonies.script import Script, ScriptStep
from ceremonies.transcript import Entry, EntryType, Note, note
from pki.errors import CeremonyAborted

CONFIRM_ATTEMPTS_MAX = 5


# Steps: what is to be done next.


class Say(msgspec.Struct, frozen=True):
    """Somebody reads a text aloud."""

    step: ScriptStep


class Confirm(msgspec.Struct, frozen=True):
    """Somebody types one of these exact words. `attempt` counts from 1."""

    step: ScriptStep
    answers: tuple[str, ...]
    attempt: int


class AskSecret(msgspec.Struct, frozen=True):
    """Somebody enters the PIN of a token: it goes to the token, and never into an event. `again`: after a crash."""

    step: ScriptStep
    token: str
    again: bool


class Run(msgspec.Struct, frozen=True):
    """An act is performed; every token that it needs is unlocked."""

    step: ScriptStep


Step = Say | Confirm | AskSecret | Run


# Events: what has happened.


class Started(msgspec.Struct, frozen=True):
    """This process takes the ceremony up, from its beginning or after an interruption: no token is unlocked."""


class Said(msgspec.Struct, frozen=True):
    """The text was read."""


class Answered(msgspec.Struct, frozen=True):
    """Somebody typed this."""

    text: str


class Unlocked(msgspec.Struct, frozen=True):
    """The token took the PIN."""

    token: str
    facts: dict[str, str]


class Performed(msgspec.Struct, frozen=True):
    """The act is done: what is always so, and what differs from one run to another."""

    fixed: dict[str, Any]
    varying: dict[str, Any]


Event = Started | Said | Answered | Unlocked | Performed


class State(msgspec.Struct, frozen=True):
    """Where a ceremony stands. `position` is the index of the next step; `unlocked` are tokens open in this process."""

    script: Script
    position: int = 0
    attempt: int = 1
    absent: frozenset[str] = frozenset()
    unlocked: frozenset[str] = frozenset()
    refusal: tuple[str, str] | None = None
    """Rule and reason, when the ceremony cannot go on."""

    @property
    def current(self) -> ScriptStep | None:
        """The next step of the script; None when all are done."""
        steps = self.script.steps
        return steps[self.position] if self.position < len(steps) else None


def advance(state: State, event: Event) -> tuple[State, Step | None]:
    """What follows from an event: the new state, and the next step, None when nothing is left or it cannot go on."""
    state = _after(state, event)
    return state, None if state.refusal else _next(state)


def _after(state: State, event: Event) -> State:
    step = state.current
    if isinstance(event, Started):
        return msgspec.structs.replace(state, unlocked=frozenset(), attempt=1)
    if isinstance(event, Unlocked):
        unlocked = state.unlocked | {event.token}
        done = step is not None and step.does == scripts.UNLOCK and step.token == event.token
        state = msgspec.structs.replace(state, unlocked=unlocked)
        return _done(state) if done else state
    if isinstance(event, Answered):
        return _after_answer(state, event.text)
    return _done(state)


def _after_answer(state: State, text: str) -> State:
    step = state.current
    if step is None or normal(text) not in {normal(answer) for answer in _answers(step)}:
        return msgspec.structs.replace(state, attempt=state.attempt + 1)
    if step.does != scripts.PRESENT:
        return _done(state)
    if normal(text) == normal(_answers(step)[1]):
        state = msgspec.structs.replace(state, absent=state.absent | {str(step.person)})
    state = _done(state)
    following = state.current
    roll_call_is_over = following is None or following.does != scripts.PRESENT
    return _with_quorum(state) if roll_call_is_over else state


def _with_quorum(state: State) -> State:
    for role, minimum in state.script.minimum.items():
        present = [person for person in state.script.people_in(role) if person.id not in state.absent]
        if len(present) < minimum:
            reason = f"{len(present)} of role {role} are present, {minimum} are needed; no key was touched"
            return msgspec.structs.replace(state, refusal=(NO_QUORUM, reason))
    return state


def _done(state: State) -> State:
    return msgspec.structs.replace(state, position=state.position + 1, attempt=1)


def _next(state: State) -> Step | None:
    step = state.current
    if step is None:
        return None
    if step.does == scripts.SAY:
        return Say(step)
    if step.does in {scripts.CONFIRM, scripts.PRESENT}:
        return Confirm(step, _answers(step), state.attempt)
    if step.does == scripts.UNLOCK and step.token is not None:
        return AskSecret(step, step.token, again=False)
    for token in step.act.tokens() if step.act else ():
        if token not in state.unlocked:
            return AskSecret(_unlock_step(state, token), token, again=True)
    return Run(step)


def _unlock_step(state: State, token: str) -> ScriptStep:
    """The step that unlocked a token before the interruption; that there is one was checked with the plan."""
    for step in state.script.steps[: state.position]:
        if step.does == scripts.UNLOCK and step.token == token:
            return step
    raise AssertionError(f"token {token} is used before it is unlocked")


def _answers(step: ScriptStep) -> tuple[str, ...]:
    if step.does == scripts.PRESENT:
        return (f"{step.person} present", f"{step.person} absent")
    return (str(step.typed),)


def normal(text: str) -> str:
    """How typed words are compared: spaces and case do not matter, everything else does."""
    return " ".join(text.split()).casefold()


# Notes for the transcript


def note_of(before: State, after: State, event: Event) -> Note | None:
    """What the transcript says of an event; None for one that changed nothing (a word mistyped, a process started)."""
    step = before.current
    if isinstance(event, Started) or step is None:
        return None
    if isinstance(event, Said):
        return note(EntryType.SAID, step.id, {"who": step.who, "text": step.text})
    if isinstance(event, Answered):
        return _answer_note(before, after, step)
    if isinstance(event, Unlocked):
        unlocking = step if step.token == event.token else _unlock_step(before, event.token)
        kind = EntryType.UNLOCKED if after.position > before.position else EntryType.UNLOCKED_AGAIN
        return note(kind, unlocking.id, {"who": unlocking.who, "token": event.token}, event.facts)
    return note(EntryType.RESULT, step.id, {"act": step.does, **event.fixed}, event.varying)


def _answer_note(before: State, after: State, step: ScriptStep) -> Note | None:
    if after.position == before.position:
        return None
    if step.does != scripts.PRESENT:
        return note(EntryType.CONFIRMED, step.id, {"who": step.who, "typed": str(step.typed)})
    present = str(step.person) not in after.absent
    return note(EntryType.PRESENT, step.id, {"person": step.person, "role": step.who}, {"present": present})


def intent_note(step: ScriptStep) -> Note:
    """What is written before an act is performed."""
    return note(EntryType.INTENT, step.id, {"act": step.does, "with": step.parameters})


def replay(script: Script, entries: Iterable[Entry]) -> State:
    """The state that a transcript leads to. Raises CeremonyAborted CE-24 if it is not one of this script."""
    state = State(script)
    for entry in entries:
        event = _event_of(entry)
        if event is None:
            continue
        step = state.current
        if step is None or (entry.note.step != step.id):
            raise CeremonyAborted(
                TRANSCRIPT_DAMAGED, f"entry {entry.sequence} of the transcript is not the script's next step"
            )
        state = _after(state, event)
    return state


def _event_of(entry: Entry) -> Event | None:
    fixed, varying = entry.note.fixed, entry.note.varying
    if entry.type is EntryType.SAID:
        return Said()
    if entry.type is EntryType.PRESENT:
        return Answered(f"{fixed['person']} {'present' if varying['present'] else 'absent'}")
    if entry.type is EntryType.CONFIRMED:
        return Answered(str(fixed["typed"]))
    if entry.type is EntryType.UNLOCKED:
        return Unlocked(str(fixed["token"]), {})
    if entry.type is EntryType.RESULT:
        return Performed({}, {})
    return None


def begun_fixed(script: Script, environment: str, digest: str) -> Mapping[str, Any]:
    """What the first entry says that rehearsal and ceremony have in common, the whole script among it."""
    return {
        "name": script.name,
        "kind": script.kind,
        "title": script.title,
        "purpose": script.purpose,
        "site": script.site,
        "environment": environment,
        "digest": digest,
        "people": [{"id": person.id, "name": person.name, "role": person.role} for person in script.people],
        "steps": [{"id": step.id, "does": step.does, "who": step.who, "text": _shown(step)} for step in script.steps],
    }


def _shown(step: ScriptStep) -> str:
    return step.text if step.typed is None else f"{step.text} Type: {step.typed}"
