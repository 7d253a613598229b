"""Key states of SP 800-57: every pair of states, and every reason why a key may not sign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from pki.errors import PolicyViolation
from pki.key_states import KeyState, may_change_state, may_prove_possession, may_sign

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2028, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

# Written down from SP 800-57 Part 1 Rev 5, sections 7.1 to 7.6: the numbered transitions of figure 3, from 2 on.
TRANSITIONS = {
    ("pre-activation", "destroyed"),
    ("pre-activation", "compromised"),
    ("pre-activation", "active"),
    ("active", "destroyed"),
    ("active", "compromised"),
    ("active", "suspended"),
    ("active", "deactivated"),
    ("suspended", "destroyed"),
    ("suspended", "compromised"),
    ("suspended", "active"),
    ("suspended", "deactivated"),
    ("deactivated", "destroyed"),
    ("deactivated", "compromised"),
    ("compromised", "destroyed"),
}


@pytest.mark.parametrize(("current", "wanted"), list(product(KeyState, KeyState)))
def test_state_changes(current: KeyState, wanted: KeyState) -> None:
    decision = may_change_state(current, wanted)
    allowed = (current.value, wanted.value) in TRANSITIONS
    assert (decision.allowed, decision.rule_id) == ((True, "KS-10") if allowed else (False, "KS-11"))


@pytest.mark.parametrize(
    ("state", "not_before", "not_after", "now", "rule_id"),
    [
        (KeyState.ACTIVE, BEGIN, END, BEGIN, "KS-01"),
        (KeyState.ACTIVE, BEGIN, END, END, "KS-01"),
        (KeyState.PRE_ACTIVATION, BEGIN, END, BEGIN, "KS-02"),
        (KeyState.SUSPENDED, BEGIN, END, BEGIN, "KS-02"),
        (KeyState.DEACTIVATED, BEGIN, END, BEGIN, "KS-02"),
        (KeyState.COMPROMISED, BEGIN, END, BEGIN, "KS-02"),
        (KeyState.DESTROYED, BEGIN, END, BEGIN, "KS-02"),
        (KeyState.ACTIVE, None, END, BEGIN, "KS-03"),
        (KeyState.ACTIVE, BEGIN, None, BEGIN, "KS-03"),
        (KeyState.ACTIVE, BEGIN, END, BEGIN - SECOND, "KS-04"),
        (KeyState.ACTIVE, BEGIN, END, END + SECOND, "KS-05"),
    ],
)
def test_signing(
    state: KeyState, not_before: datetime | None, not_after: datetime | None, now: datetime, rule_id: str
) -> None:
    decision = may_sign(state, not_before, not_after, now)
    assert (decision.allowed, decision.rule_id) == (rule_id == "KS-01", rule_id)


@pytest.mark.parametrize("state", KeyState)
def test_proof_of_possession(state: KeyState) -> None:
    decision = may_prove_possession(state)
    allowed = state in (KeyState.PRE_ACTIVATION, KeyState.ACTIVE)
    assert (decision.allowed, decision.rule_id) == ((True, "KS-06") if allowed else (False, "KS-07"))


def test_require() -> None:
    may_sign(KeyState.ACTIVE, BEGIN, END, BEGIN).require()
    with pytest.raises(PolicyViolation, match="KS-05") as caught:
        may_sign(KeyState.ACTIVE, BEGIN, END, END + SECOND).require()
    assert caught.value.rule_id == "KS-05"


def test_times_without_a_zone_are_a_mistake_of_the_caller() -> None:
    naive = BEGIN.replace(tzinfo=None)
    for times in ((naive, END, BEGIN), (BEGIN, naive, BEGIN), (BEGIN, END, naive)):
        with pytest.raises(ValueError, match="time zone"):
            may_sign(KeyState.ACTIVE, *times)
