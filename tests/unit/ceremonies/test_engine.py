"""The engine by itself: what follows from what, without a clock, a terminal or a token."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ceremonies import engine
from ceremonies.engine import Answered, AskSecret, Confirm, Event, Performed, Run, Said, Say, Started, State, Unlocked
from ceremonies.transcript import Entry, EntryType, following
from pki.errors import CeremonyAborted
from tests.unit.ceremonies.plans import PLAN, script_of

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
ALL: list[Event] = [
    Answered("ada present"),
    Answered("bob present"),
    Answered("cy present"),
    Said(),
    Answered("the digest agrees"),
    Unlocked("one", {"serial": "1", "token_label": "one"}),
    Performed({"token": "one"}, {"objects": 0}),
    Performed({"label": "x"}, {"cka_id": "00"}),
    Said(),
]


def after(events: list[Event]) -> tuple[State, engine.Step | None, list[Entry]]:
    state, step = engine.advance(State(script_of()), Started())
    entries: list[Entry] = []
    for event in events:
        before = state
        state, step = engine.advance(state, event)
        written = engine.note_of(before, state, event)
        if written is not None:
            entries.append(following(entries, written, NOW))
    return state, step, entries


def test_every_step_in_its_order() -> None:
    kinds = [after(ALL[:count])[1] for count in range(len(ALL) + 1)]
    assert [type(step) for step in kinds] == [
        *(Confirm, Confirm, Confirm, Say, Confirm, AskSecret, Run, Run, Say),
        type(None),
    ]


@pytest.mark.parametrize("count", range(len(ALL) + 1))
def test_a_transcript_replayed_gives_the_same_state(count: int) -> None:
    state, _, entries = after(ALL[:count])
    replayed = engine.replay(script_of(), entries)
    assert (replayed.position, replayed.absent) == (state.position, state.absent)


def test_words_are_compared_without_case_and_spaces_and_nothing_else() -> None:
    events = [*ALL[:4], Answered("  The  DIGEST agrees ")]
    assert after(events)[0].position == 5
    for wrong in ("the digest agree", "thedigest agrees", "y", "yes", "", "the digest agrees."):
        state, step, entries = after([*ALL[:4], Answered(wrong)])
        assert state.position == 4
        assert isinstance(step, Confirm)
        assert step.attempt == 2
        assert len(entries) == 4


def test_too_few_present_end_it_before_anything_else() -> None:
    state, step, entries = after([Answered("ada present"), Answered("bob absent"), Answered("cy absent")])
    assert step is None
    assert state.refusal is not None
    assert state.refusal[0] == "CE-12"
    assert [entry.note.varying for entry in entries] == [{"present": True}, {"present": False}, {"present": False}]


def test_enough_present_is_enough() -> None:
    state, step, _ = after([Answered("ada present"), Answered("bob absent"), Answered("cy present")])
    assert state.refusal is None
    assert isinstance(step, Say)


def test_after_an_interruption_tokens_are_unlocked_again_when_they_are_needed() -> None:
    state, _, _ = after(ALL[:7])
    state, step = engine.advance(state, Started())
    assert step == AskSecret(state.script.steps[5], "one", again=True)
    before = state
    state, step = engine.advance(state, Unlocked("one", {}))
    assert isinstance(step, Run)
    assert step.step.id == "make"
    written = engine.note_of(before, state, Unlocked("one", {}))
    assert written is not None
    assert (written.type, written.step) == (EntryType.UNLOCKED_AGAIN, "unlock")


def test_a_transcript_of_another_script_is_refused() -> None:
    _, _, entries = after(ALL)
    other = script_of(PLAN.replace("id: heard", "id: listened"))
    with pytest.raises(CeremonyAborted, match="CE-24"):
        engine.replay(other, entries)


def test_a_pin_has_no_place_in_an_event() -> None:
    assert Unlocked.__struct_fields__ == ("token", "facts")
