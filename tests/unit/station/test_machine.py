"""The machine alone: it ends whatever it is told, never begins a board twice in an attempt, never sends unrecorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.values import PublicKey
from provisioning.station import steps
from provisioning.station.boards import Standing
from provisioning.station.facts import (
    ChallengeFacts,
    FlashContent,
    Issued,
    Known,
    LifeCycle,
    OptionBytes,
    StatusFacts,
    Terms,
)
from provisioning.station.machine import STEPS_MAX, State, advance
from provisioning.station.rules import Rule
from provisioning.station.steps import Event, Step
from signer.device_objects.common import Protection

NOW = datetime(2026, 12, 1, tzinfo=UTC)
OPTIONS = OptionBytes(1, True, True, False)
TERMS = Terms(b"o" * 16, b"p" * 16, "LOT-7", 1, 5, Protection.READOUT, 2, True, OPTIONS)
KEY, OTHER_KEY = PublicKey(b"k" * 64), PublicKey(b"q" * 64)
UID, OTHER_UID = b"u" * 16, b"v" * 16
CHALLENGE = ChallengeFacts(
    LifeCycle.LOCKED, UID, b"p" * 16, "LOT-7", 3, Protection.READOUT, 2, b"n" * 32, KEY, KEY, False
)
ISSUED = Issued(1, b"data", b"a" * 32, b"c" * 32, KEY.point)
STATUS = StatusFacts(
    b"n" * 32, b"raw", UID, LifeCycle.OPERATIONAL, Protection.READOUT, 2, b"o" * 16, b"a" * 32, b"c" * 32
)
CHALLENGES = st.builds(
    replace,
    st.just(CHALLENGE),
    lifecycle=st.sampled_from(LifeCycle),
    uid=st.sampled_from([UID, UID, UID, OTHER_UID]),
    trust_bundle_version=st.sampled_from([1, 2, 2, 2, 3]),
    lot=st.sampled_from(["LOT-7", "LOT-7", "LOT-8"]),
    identity_public_key=st.sampled_from([KEY, KEY, OTHER_KEY, None]),
)
KNOWN = st.builds(
    Known,
    standing=st.sampled_from([None, *Standing]),
    identity_public_key=st.sampled_from([None, KEY.point, OTHER_KEY.point]),
    uid_of_identity=st.sampled_from([None, UID, OTHER_UID]),
    sequence=st.sampled_from([None, 1]),
    activations=st.sampled_from([frozenset(), frozenset({b"a" * 32})]),
    certificate_digest=st.sampled_from([None, b"c" * 32]),
)
FAILURES = st.one_of(
    st.builds(steps.LinkLost, st.just("lost")),
    st.builds(steps.FixtureFailed, st.just("failed")),
    st.builds(steps.Refused, st.sampled_from(list(Rule)), st.just("refused")),
)


def answers(step: Step) -> st.SearchStrategy[Event]:
    """What may answer a step."""
    match step:
        case steps.ReadOptionBytes():
            found = st.sampled_from([None, OptionBytes(), OPTIONS])
            return st.builds(steps.OptionBytesRead, found)
        case steps.WriteOptionBytes():
            return st.builds(steps.OptionBytesRead, st.sampled_from([OPTIONS, OPTIONS, OptionBytes()]))
        case steps.ReadFlash():
            return st.builds(steps.FlashRead, st.sampled_from(FlashContent))
        case steps.Challenge():
            return st.builds(steps.Challenged, CHALLENGES)
        case steps.LookUp():
            return st.builds(steps.LookedUp, KNOWN)
        case steps.AskSerial():
            return st.just(steps.SerialRead("A1"))
        case steps.Begin() | steps.Renew():
            return st.just(steps.Recorded(ISSUED))
        case steps.SendActivation():
            return st.just(steps.ReceiptTaken(b"receipt"))
        case steps.ReadStatus():
            lifecycle = st.sampled_from([LifeCycle.OPERATIONAL, LifeCycle.LOCKED])
            digest = st.sampled_from([b"a" * 32, b"x" * 32])
            return st.builds(
                lambda life, activation: steps.StatusRead(
                    replace(STATUS, lifecycle=life, activation_digest=activation)
                ),
                lifecycle,
                digest,
            )
        case _:
            return st.just(steps.Done())


@given(st.data())
def test_every_attempt_ends_and_keeps_its_rules(data: st.DataObject) -> None:
    terms = replace(TERMS, reprograms=data.draw(st.booleans()), asks_serial=data.draw(st.booleans()))
    state, event = State(terms), steps.BoardInserted(None)
    done: list[Step] = []
    told: Event = event
    for _ in range(STEPS_MAX + 1):
        state, step = advance(state, told)
        done.append(step)
        if isinstance(step, steps.Finish):
            break
        told = data.draw(FAILURES if data.draw(st.integers(0, 9)) == 0 else answers(step))
    else:
        pytest.fail("no end")
    kinds = [type(step) for step in done]
    assert kinds.count(steps.RecordFailure) <= 1
    assert kinds.count(steps.Complete) <= 1
    for place, kind in enumerate(kinds):
        if kind is steps.SendActivation:
            assert kinds[place - 1] in (steps.Begin, steps.Renew)
        if kind is steps.Begin:
            verified = [at for at, other in enumerate(kinds[:place]) if other is steps.WriteOptionBytes]
            assert verified, "a board is begun only after its flash was verified in this attempt"
            assert steps.ReadFlash in kinds[: verified[-1]]
    last = done[-1]
    assert isinstance(last, steps.Finish)
    if last.verdict.passed:
        assert kinds[-2] in (steps.Complete, steps.ReadStatus)
        assert steps.ReadStatus in kinds


def test_an_event_that_answers_nothing_is_a_defect() -> None:
    state, step = advance(State(TERMS), steps.BoardInserted(None))
    assert step == steps.ReadOptionBytes()
    with pytest.raises(ValueError, match="does not answer"):
        advance(state, steps.SerialRead("A1"))
    with pytest.raises(ValueError, match="does not answer"):
        advance(State(TERMS), steps.Done())


@pytest.mark.parametrize("rule", [Rule.QUOTA_USED_UP, Rule.TOO_LATE, Rule.STATION_STOPPED])
def test_what_is_no_fault_of_the_board_is_not_recorded_against_it(rule: Rule) -> None:
    state = State(TERMS, waiting_for=steps.Begin(CHALLENGE, ""), challenge=CHALLENGE)
    _, step = advance(state, steps.Refused(rule, "no"))
    assert isinstance(step, steps.Finish)
    assert step.verdict.rule is rule


def test_a_failure_that_cannot_be_recorded_is_shown_as_what_it_was() -> None:
    state = State(TERMS, waiting_for=steps.LookUp(UID, KEY.point), challenge=CHALLENGE)
    state, step = advance(state, steps.Refused(Rule.WRONG_BOARD, "no"))
    assert isinstance(step, steps.RecordFailure)
    _, step = advance(state, steps.Refused(Rule.STATION_STOPPED, "the disk is full"))
    assert isinstance(step, steps.Finish)
    assert step.verdict.rule is Rule.STATION_STOPPED
