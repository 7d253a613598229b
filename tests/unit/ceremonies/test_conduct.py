"""Leading through a ceremony, with a room and a workplace that only remember: what is durable before what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ceremonies.acts.base import Outcome
from ceremonies.acts.keys import GenerateKey
from ceremonies.acts.tokens import CheckToken
from ceremonies.artefacts import Artefacts
from ceremonies.conduct import Conduct, StepView
from ceremonies.transcript import Entry, EntryType
from ceremonies.transcript_file import TranscriptFile, read_transcript
from pki.errors import CeremonyAborted
from signer.tokens.errors import PinIncorrect, TokenLost
from tests.unit.ceremonies.plans import script_of

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class RememberingRoom:
    """Answers as scripted, unless told otherwise; `seen` is what the room was shown, in order."""

    def __init__(self, answers: dict[str, list[str]] | None = None) -> None:
        self.answers = answers or {}
        self.seen: list[str] = []

    def say(self, view: StepView) -> None:
        self.seen.append(f"say {view.step.id}")

    def confirm(self, view: StepView, answers: Sequence[str], attempt: int) -> str:
        self.seen.append(f"confirm {view.step.id} {attempt}")
        given = self.answers.get(view.step.id)
        return given.pop(0) if given else answers[0]

    def before_unlock(self, view: StepView, token: str, *, again: bool) -> None:
        self.seen.append(f"unlock {token}{' again' if again else ''}")

    def before_act(self, view: StepView) -> None:
        self.seen.append(f"act {view.step.id}")

    def after_act(self, view: StepView, fixed: dict[str, Any], varying: dict[str, Any]) -> None:
        self.seen.append(f"done {view.step.id}")


class RememberingPlace:
    """Acts are not performed here but remembered, with what the transcript held at that moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artefacts = Artefacts(folder / "artefacts")
        self.performed: list[tuple[str, str, str | None]] = []
        self.fails: dict[str, BaseException] = {}
        self.unlock_fails: list[Exception] = []

    def require_reviewed(self) -> None:
        """Nothing changes here."""

    def unlock(self, token: str) -> dict[str, str]:
        if self.unlock_fails:
            raise self.unlock_fails.pop()
        return {"serial": "1", "token_label": token}

    def remember(self, step: str) -> None:
        last = read_transcript(self.folder / "transcript.jsonl")[-1]
        self.performed.append((step, last.type.value, last.note.step))
        if step in self.fails:
            raise self.fails.pop(step)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RememberingPlace:
    def perform(act: Any, place: RememberingPlace, step: str) -> Outcome:
        place.remember(step)
        return Outcome({"token": act.token}, {"count": len(place.performed)})

    for act in (CheckToken, GenerateKey):
        monkeypatch.setattr(act, "perform", perform)
    return RememberingPlace(tmp_path)


def held(place: RememberingPlace, room: RememberingRoom, golden: Sequence[Entry] | None = None) -> list[Entry]:
    with TranscriptFile(place.folder / "transcript.jsonl") as transcript:
        conduct = Conduct(
            script=script_of(),
            environment="development",
            digest="00" * 32,
            mode="answers",
            tool="0",
            golden=golden,
            transcript=transcript,
            place=place,  # type: ignore[arg-type]
            room=room,
            now=lambda: NOW,
            log=lambda _kind, _details: None,
            sign_head=lambda _text: None,
        )
        return conduct.run()


def kinds(place: RememberingPlace) -> list[str]:
    return [entry.type.value for entry in read_transcript(place.folder / "transcript.jsonl")]


def test_every_act_has_its_intent_on_disk_before_it_is_performed(place: RememberingPlace) -> None:
    held(place, RememberingRoom())
    assert place.performed == [("look", "intent", "look"), ("make", "intent", "make")]
    assert kinds(place) == [
        *("begun", "present", "present", "present", "said", "confirmed", "unlocked"),
        *("intent", "result", "intent", "result", "said", "ended"),
    ]


@pytest.mark.parametrize("step", ["look", "make"])
def test_after_a_kill_the_act_is_performed_again_and_nothing_else(step: str, place: RememberingPlace) -> None:
    place.fails[step] = Killed()
    with pytest.raises(Killed):
        held(place, RememberingRoom())
    room = RememberingRoom()
    entries = held(place, room)
    assert entries[-1].type is EntryType.ENDED
    assert room.seen[:2] == ["unlock one again", f"act {step}"]
    assert [name for name, _, _ in place.performed].count(step) == 2
    assert "present" not in kinds(place)[kinds(place).index("resumed") :]


def test_a_failure_is_written_down_and_the_ceremony_goes_on_later(place: RememberingPlace) -> None:
    place.fails["make"] = TokenLost("the token is gone")
    with pytest.raises(TokenLost):
        held(place, RememberingRoom())
    assert read_transcript(place.folder / "transcript.jsonl")[-1].note.varying == {
        "error": "TokenLost",
        "text": "the token is gone",
    }
    assert held(place, RememberingRoom())[-1].type is EntryType.ENDED


def test_a_wrong_pin_is_not_tried_again_by_itself(place: RememberingPlace) -> None:
    place.unlock_fails = [PinIncorrect("the PIN is wrong")]
    with pytest.raises(PinIncorrect):
        held(place, RememberingRoom())
    assert kinds(place)[-1] == "failed"
    assert held(place, RememberingRoom())[-1].type is EntryType.ENDED


def test_five_mistyped_confirmations_end_the_process_not_the_ceremony(place: RememberingPlace) -> None:
    with pytest.raises(CeremonyAborted) as refused:
        held(place, RememberingRoom({"heard": ["no"] * 5}))
    assert refused.value.rule_id == "CE-21"
    assert kinds(place)[-1] == "failed"
    assert held(place, RememberingRoom({"heard": ["no"] * 4}))[-1].type is EntryType.ENDED


def test_a_rehearsal_and_what_differs_from_it(place: RememberingPlace, tmp_path: Path) -> None:
    golden = held(place, RememberingRoom())
    (place.folder / "transcript.jsonl").unlink()
    place.performed.clear()
    assert held(place, RememberingRoom(), golden)[-1].type is EntryType.ENDED
    (place.folder / "transcript.jsonl").unlink()
    changed = [
        msgspec.structs.replace(entry, note=msgspec.structs.replace(entry.note, fixed={"act": "look", "token": "two"}))
        if (entry.type, entry.note.step) == (EntryType.RESULT, "look")
        else entry
        for entry in golden
    ]
    place.performed.clear()
    with pytest.raises(CeremonyAborted) as refused:
        held(place, RememberingRoom(), changed)
    assert refused.value.rule_id == "CE-20"
    assert kinds(place)[-1] == "aborted"
    assert [step for step, _, _ in place.performed] == ["look"]
    with pytest.raises(CeremonyAborted) as refused:
        held(place, RememberingRoom(), changed)
    assert refused.value.rule_id == "CE-14"


def test_what_is_over_stays_as_it_is(place: RememberingPlace) -> None:
    held(place, RememberingRoom())
    before = (place.folder / "transcript.jsonl").read_bytes()
    held(place, RememberingRoom())
    assert (place.folder / "transcript.jsonl").read_bytes() == before
