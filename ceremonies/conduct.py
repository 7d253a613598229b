"""Leads people through a ceremony: asks the engine for the next step, has it done, writes it down, compares, goes on.

Order, for every step: what is done is durable in the transcript before the next step begins; an act's intent is durable
before the act. So a crash at any moment leaves a transcript from which `conduct` continues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import msgspec

from ceremonies import engine
from ceremonies.drift import drift_of
from ceremonies.engine import AskSecret, Confirm, Run, Say, State, Step
from ceremonies.rules import BEGUN_BEFORE, DRIFT, NOT_CONFIRMED, STOPPED_BY_PEOPLE
from ceremonies.script import Participant, Script, ScriptStep, holder, parts_of
from ceremonies.transcript import (
    HEAD_FORMAT,
    TRANSCRIPT_FORMAT,
    Entry,
    EntryType,
    Note,
    following,
    head_of,
    head_text,
    note,
)
from pki.errors import CeremonyAborted, StrongroomError
from signer.log.values import EventKind

if TYPE_CHECKING:
    from ceremonies.transcript_file import TranscriptFile
    from ceremonies.workplace import Workplace


class StoppedByPeople(Exception):
    """Somebody in the room ended the ceremony for good."""


class StepView(msgspec.Struct, frozen=True):
    """What the room needs to know of a step: which it is of how many, what it says, and whose turn it is."""

    number: int
    total: int
    step: ScriptStep
    person: Participant
    parts: dict[str, str]
    """Who plays each part of a role that several hold: `custodian-1` to a name."""


class Room(Protocol):
    """The people and their terminal, or the answers of a rehearsal."""

    def say(self, view: StepView) -> None:
        """Show the text and wait until it was read. May raise StoppedByPeople, as all of these."""

    def confirm(self, view: StepView, answers: Sequence[str], attempt: int) -> str:
        """What was typed; `attempt` is 1 for the first."""

    def before_unlock(self, view: StepView, token: str, *, again: bool) -> None:
        """Announce that the PIN of a token is asked for."""

    def before_act(self, view: StepView) -> None:
        """Announce an act."""

    def after_act(self, view: StepView, fixed: dict[str, Any], varying: dict[str, Any]) -> None:
        """Show what it did."""


class HeadSigner(Protocol):
    """Signs the text of a transcript's head: the log's key, or nothing where there is no log."""

    def __call__(self, text: bytes) -> dict[str, str] | None:
        """`key_label`, `public_key`, `signature`; None without a log. Raises TokenError, PolicyViolation."""


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a ceremony, or of its rehearsal: then `golden` is None and nothing is compared."""

    script: Script
    environment: str
    digest: str
    mode: str
    tool: str
    golden: Sequence[Entry] | None
    transcript: TranscriptFile
    place: Workplace
    room: Room
    now: Callable[[], datetime]
    log: Callable[[EventKind, dict[str, Any]], None]
    sign_head: HeadSigner

    def run(self) -> list[Entry]:
        """Begin, or continue, until the end; the transcript's entries. Raises CeremonyAborted and what steps raise."""
        entries = self.transcript.entries
        if _has(entries, EntryType.ABORTED):
            raise CeremonyAborted(BEGUN_BEFORE, f"ceremony {self.script.name} was aborted; a new one needs a new name")
        if not _has(entries, EntryType.ENDED):
            self._walk(self._taken_up())
        if not _has(entries, EntryType.SIGNED):
            self._close()
        return entries

    def _taken_up(self) -> State:
        entries = self.transcript.entries
        if not entries:
            self._log(EventKind.CEREMONY_BEGUN)
            self._append(
                note(
                    EntryType.BEGUN,
                    None,
                    {"format": TRANSCRIPT_FORMAT, **engine.begun_fixed(self.script, self.environment, self.digest)},
                    {
                        "mode": self.mode,
                        "rehearsal": None if self.golden is None else head_of(self.golden),
                        "tool": self.tool,
                    },
                )
            )
            self._compare(None)
            return State(self.script)
        state = engine.replay(self.script, entries)
        for name, sha256 in _written(entries):
            self.place.artefacts.expect(name, sha256)
        following_step = None if state.current is None else state.current.id
        self._log(EventKind.CEREMONY_RESUMED)
        self._append(note(EntryType.RESUMED, None, {}, {"interrupted_at": following_step}))
        self._compare(following_step)
        return state

    def _walk(self, state: State) -> None:
        state, step = engine.advance(state, engine.Started())
        while step is not None:
            event = self._done(state, step)
            before = state
            state, step = engine.advance(state, event)
            written = engine.note_of(before, state, event)
            if written is not None:
                self._append(written)
                self._compare(None if state.current is None else state.current.id)
            if state.attempt > engine.CONFIRM_ATTEMPTS_MAX:
                self._not_confirmed(state)
        if state.refusal is not None:
            self._abort(*state.refusal, step=None)
        ended = note(EntryType.ENDED, None, {"steps": state.position}, {"artefacts": self.place.artefacts.listing()})
        self._append(ended)
        self._compare(None)

    def _close(self) -> None:
        """What follows the end, repeated after an interruption: logging it, and the log key's signature."""
        entries = self.transcript.entries
        self._log(EventKind.CEREMONY_ENDED, {"head": head_of(entries)})
        signature = self.sign_head(head_text(self.script.name, entries))
        if signature is not None:
            self._append(note(EntryType.SIGNED, None, {"format": HEAD_FORMAT}, signature))

    # One step

    def _done(self, state: State, step: Step) -> engine.Event:
        """Have a step done. What goes wrong is written down; the ceremony can then be resumed at this step."""
        view = self._view(state, step.step)
        try:
            if isinstance(step, Say):
                self.room.say(view)
                return engine.Said()
            if isinstance(step, Confirm):
                return engine.Answered(self.room.confirm(view, step.answers, step.attempt))
            if isinstance(step, AskSecret):
                self.room.before_unlock(view, step.token, again=step.again)
                return engine.Unlocked(step.token, self.place.unlock(step.token))
            return self._performed(view, step)
        except StoppedByPeople:
            self._abort(STOPPED_BY_PEOPLE, "it was stopped by the people in the room", step=step.step.id)
        except StrongroomError as error:
            self._append(
                note(EntryType.FAILED, step.step.id, {}, {"error": type(error).__name__, "text": str(error)[:1000]})
            )
            raise

    def _performed(self, view: StepView, step: Run) -> engine.Event:
        act = step.step.act
        if act is None:
            raise AssertionError("a step that runs has an act")
        self.room.before_act(view)
        self.place.require_reviewed()
        self._append(engine.intent_note(step.step))
        outcome = act.perform(self.place, step.step.id)
        varying = {**outcome.varying, "written": self.place.artefacts.take_written()}
        self.room.after_act(view, outcome.fixed, varying)
        return engine.Performed(outcome.fixed, varying)

    def _view(self, state: State, step: ScriptStep) -> StepView:
        person = holder(self.script, step.who, state.absent)
        if step.person is not None:
            person = next(found for found in self.script.people if found.id == step.person)
        number = next(place for place, found in enumerate(self.script.steps, start=1) if found.id == step.id)
        return StepView(number, len(self.script.steps), step, person, parts_of(self.script, state.absent))

    # The transcript

    def _append(self, new: Note) -> None:
        self.transcript.append(following(self.transcript.entries, new, self.now()))

    def _compare(self, step: str | None) -> None:
        if self.golden is None:
            return
        drift = drift_of(self.transcript.entries, self.golden)
        if drift is not None:
            self._abort(DRIFT, drift, step=step)

    def _abort(self, rule: str, reason: str, *, step: str | None) -> NoReturn:
        self._append(note(EntryType.ABORTED, step, {}, {"rule": rule, "reason": reason}))
        self._log(EventKind.CEREMONY_ABORTED, {"rule": rule, "head": head_of(self.transcript.entries)})
        raise CeremonyAborted(rule, f"{reason}; the ceremony is over")

    def _not_confirmed(self, state: State) -> NoReturn:
        step = state.current
        error = CeremonyAborted(
            NOT_CONFIRMED,
            f"the words were mistyped {engine.CONFIRM_ATTEMPTS_MAX} times; take a break, then "
            f"`strongroom ceremony resume {self.script.name}`",
        )
        varying = {"error": type(error).__name__, "text": str(error)}
        self._append(note(EntryType.FAILED, None if step is None else step.id, {}, varying))
        raise error

    def _log(self, kind: EventKind, more: dict[str, Any] | None = None) -> None:
        details = {"ceremony": self.script.name, "ceremony_digest": self.digest, "mode": self.mode}
        self.log(kind, {**details, "entries": len(self.transcript.entries), **(more or {})})


def _written(entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Name and digest of every artefact that the steps so far have written."""
    for entry in entries:
        if entry.type is EntryType.RESULT:
            written: Any = entry.note.varying["written"]
            yield from ((str(item["name"]), str(item["sha256"])) for item in written)


def _has(entries: Sequence[Entry], kind: EntryType) -> bool:
    return any(entry.type is kind for entry in entries)
